package twofold

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"math"
	"net/http"
	"strconv"
	"time"
)

const (
	longestWait = 30 * time.Second // a server that is back is found again within half a minute
	spread      = 0.25             // waits grow by up to a quarter at random, so that not all come back at once
)

// pauseBefore is how long to wait until the next try: doubled with each failure in a row (at least 1), and never less
// than the server asks for. chance is in [0, 1).
func pauseBefore(first time.Duration, failures int, asked time.Duration, chance float64) time.Duration {
	pause := math.Min(float64(first)*math.Pow(2, math.Min(float64(failures-1), 16)), float64(longestWait))
	return max(time.Duration(pause*(1+spread*chance)), asked)
}

// isForNow says whether a refusal with this status may be another answer later.
func isForNow(status int) bool {
	return status >= 500 || status == 408 || status == 425 || status == 429
}

// retryAfter is what an answer's Retry-After asks for. A date is not read: Twofold sends seconds.
func retryAfter(header http.Header) time.Duration {
	seconds, _ := wholeNumber(header.Get("Retry-After"))
	return time.Duration(seconds) * time.Second
}

// wholeNumber reads digits and nothing else.
func wholeNumber(text string) (int, bool) {
	for _, letter := range text {
		if letter < '0' || letter > '9' {
			return 0, false
		}
	}
	number, err := strconv.ParseInt(text, 10, 32)
	return int(number), err == nil
}

// sleep returns after so long, or with the context's end.
func sleep(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// newIdempotencyKey is a key under which a request may be made again.
func newIdempotencyKey() (string, error) {
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return "", err
	}
	return hex.EncodeToString(random), nil
}

package twofold

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ErrNotGenuine is what errors of Verify wrap when a request was not sent by the holder of the secret, was changed on
// the way, or is too old. Answer 400.
var ErrNotGenuine = errors.New("webhook is not genuine")

// ErrSecret is what errors of Verify wrap when a secret is malformed: the receiver's own configuration is wrong.
var ErrSecret = errors.New("malformed webhook secret")

const (
	hmacSecret          = "whsec_"
	privateKey          = "whsk_"
	publicKey           = "whpk_"
	shortestSecretBytes = 24 // the specification's bounds: https://www.standardwebhooks.com
	longestSecretBytes  = 64
	longestTimestamp    = 12 // digits: 30,000 years
	mostSignatures      = 32 // during a rotation a few secrets sign; more are an attempt to make the receiver work
)

// Tolerance is the specification's advice against replays: five minutes either way.
const Tolerance = 5 * time.Minute

// StreamName names a stream.
type StreamName struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

// Event is the envelope, as webhooks and streams carry it. Data and Metadata keep the producer's spelling; Metadata is
// nil where the event has none.
type Event struct {
	ID          string          `json:"id"`
	Type        string          `json:"type"`
	Timestamp   string          `json:"timestamp"`
	WorkspaceID string          `json:"workspace_id"`
	Stream      StreamName      `json:"stream"`
	Seq         int64           `json:"seq"`
	Metadata    json.RawMessage `json:"metadata"`
	Data        json.RawMessage `json:"data"`
}

// Verifier checks Standard Webhooks signatures, v1 (HMAC-SHA256) and v1a (ed25519). Secrets are an endpoint's whsec_
// secret or whpk_ public key, several during a rotation; Tolerance 0 is five minutes; Now is the clock when nil.
type Verifier struct {
	Secrets   []string
	Tolerance time.Duration
	Now       func() time.Time
}

// Verify returns the event of a genuine webhook. body is what was received, byte for byte. An event's ID is the same at
// each repeat: keep the ids that were handled.
func (v Verifier) Verify(header http.Header, body []byte) (Event, error) {
	if err := v.VerifySignature(header, body); err != nil {
		return Event{}, err
	}
	var event Event
	if err := json.Unmarshal(body, &event); err != nil {
		return Event{}, fmt.Errorf("%w: the signature is valid, but the body is not an event: %v", ErrNotGenuine, err)
	}
	return event, nil
}

// VerifyBatch returns the events of a genuine webhook, in order: those of a batch, or the one of a webhook without. Each
// has an ID of its own, the same at each repeat; the id in the header is the batch's. A 2xx status acknowledges all of
// them, 200 with the body {"accepted": n} the first n.
func (v Verifier) VerifyBatch(header http.Header, body []byte) ([]Event, error) {
	if text := bytes.TrimLeft(body, " \t\r\n"); len(text) == 0 || text[0] != '[' {
		event, err := v.Verify(header, body)
		if err != nil {
			return nil, err
		}
		return []Event{event}, nil
	}
	if err := v.VerifySignature(header, body); err != nil {
		return nil, err
	}
	var events []*Event
	if err := json.Unmarshal(body, &events); err != nil {
		return nil, fmt.Errorf("%w: the signature is valid, but the body holds no events: %v", ErrNotGenuine, err)
	}
	found := make([]Event, 0, len(events))
	for _, event := range events {
		if event == nil { // null
			return nil, fmt.Errorf("%w: the signature is valid, but the body holds no events", ErrNotGenuine)
		}
		found = append(found, *event)
	}
	return found, nil
}

// VerifySignature checks the signature alone.
func (v Verifier) VerifySignature(header http.Header, body []byte) error {
	id, timestamp, err := v.readHeader(header)
	if err != nil {
		return err
	}
	signed := append([]byte(fmt.Sprintf("%s.%d.", id, timestamp)), body...)
	signatures := strings.SplitN(header.Get("Webhook-Signature"), " ", mostSignatures+1)
	signatures = signatures[:min(len(signatures), mostSignatures)]
	matches := false
	for _, secret := range v.Secrets {
		// Every secret is tried, so that a malformed one shows at once and not on the day of a rotation.
		made, err := madeAny(secret, signed, signatures)
		if err != nil {
			return err
		}
		matches = matches || made
	}
	if !matches {
		return fmt.Errorf(
			"%w: no signature matches: the secret is another one, or the body is not byte for byte what was sent",
			ErrNotGenuine)
	}
	return nil
}

func (v Verifier) readHeader(header http.Header) (id string, timestamp int64, err error) {
	for _, name := range []string{"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"} {
		if len(header.Values(name)) == 0 {
			return "", 0, fmt.Errorf("%w: the %s header is missing", ErrNotGenuine, strings.ToLower(name))
		}
	}
	text := header.Get("Webhook-Timestamp")
	timestamp, err = strconv.ParseInt(text, 10, 64)
	if err != nil || len(text) > longestTimestamp || text[0] < '0' || text[0] > '9' {
		return "", 0, fmt.Errorf("%w: the webhook-timestamp is not a number of seconds", ErrNotGenuine)
	}
	now, tolerance := time.Now, v.Tolerance
	if v.Now != nil {
		now = v.Now
	}
	if tolerance == 0 {
		tolerance = Tolerance
	}
	if age := now().Sub(time.Unix(timestamp, 0)); age.Abs() > tolerance {
		return "", 0, fmt.Errorf("%w: the webhook-timestamp is %s off: check this machine's clock", ErrNotGenuine, age)
	}
	return header.Get("Webhook-Id"), timestamp, nil
}

func madeAny(secret string, signed []byte, signatures []string) (bool, error) {
	if strings.HasPrefix(secret, privateKey) || strings.HasPrefix(secret, publicKey) {
		key, err := readPublicKey(secret)
		if err != nil {
			return false, err
		}
		return anyOf(signatures, "v1a,", func(signature []byte) bool {
			return ed25519.Verify(key, signed, signature)
		}), nil
	}
	key, err := decodeSecret(secret, hmacSecret)
	if err != nil {
		return false, err
	}
	if len(key) < shortestSecretBytes || len(key) > longestSecretBytes {
		return false, fmt.Errorf("%w: a %s secret holds %d to %d bytes", ErrSecret, hmacSecret, shortestSecretBytes,
			longestSecretBytes)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(signed)
	expected := mac.Sum(nil)
	return anyOf(signatures, "v1,", func(signature []byte) bool { return hmac.Equal(expected, signature) }), nil
}

func anyOf(signatures []string, version string, made func([]byte) bool) bool {
	for _, one := range signatures {
		text, ok := strings.CutPrefix(one, version)
		if !ok {
			continue
		}
		if signature, err := base64.StdEncoding.Strict().DecodeString(text); err == nil && made(signature) {
			return true
		}
	}
	return false
}

func readPublicKey(secret string) (ed25519.PublicKey, error) {
	prefix, length := publicKey, ed25519.PublicKeySize
	if strings.HasPrefix(secret, privateKey) {
		prefix, length = privateKey, ed25519.PrivateKeySize
	}
	raw, err := decodeSecret(secret, prefix)
	if err != nil {
		return nil, err
	}
	if len(raw) != length {
		return nil, fmt.Errorf("%w: a %s key holds %d bytes", ErrSecret, prefix, length)
	}
	return raw[len(raw)-ed25519.PublicKeySize:], nil
}

func decodeSecret(secret, prefix string) ([]byte, error) {
	text, ok := strings.CutPrefix(secret, prefix)
	if !ok {
		return nil, fmt.Errorf("%w: a secret of this kind starts with %s", ErrSecret, prefix)
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%w: what follows %s is not base64", ErrSecret, prefix)
	}
	return raw, nil
}

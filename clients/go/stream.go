package twofold

import (
	"context"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"time"
)

const (
	firstStreamWait = time.Second // before the first reconnect, unless the server's `retry:` says otherwise
	silence         = 75 * time.Second
	tokensRefused   = 3 // new tokens in a row: one may have expired on its way, a third says that it is closed to us
	readBytes       = 65_536
	refusalBytes    = 4096 // of a refusal's body: a problem is shorter
)

// StreamRefused says that the server said no in a way that asking again will not change.
type StreamRefused struct {
	Status int
	Body   string
}

func (e *StreamRefused) Error() string {
	return fmt.Sprintf("the stream was refused with status %d: %s", e.Status, e.Body)
}

// Stream follows one live stream over cuts, restarts and expired tokens, without missing an event.
//
// Header holds credentials. Token is called before each connection instead, so that an expired token is replaced; what
// it fails with is tried again as a lost connection is. LastEventID says where to go on from ("0": the stream's first
// event), and follows what was handled. FirstWait is the wait before the first reconnect until the server says one (a
// second when 0). A connection on which nothing at all has come for Silence (75 s when 0: two heartbeats of the slowest
// contract and some) is given up and opened anew.
type Stream struct {
	URL         string
	Header      http.Header
	Token       func(context.Context) (string, error)
	LastEventID string
	FirstWait   time.Duration
	Silence     time.Duration
	Client      *http.Client

	wait          time.Duration
	failures      int
	tokensRefused int
}

// Follow hands each event to handle until the stream has ended (nil), the context ends (its error), the server refuses
// (*StreamRefused), or handle fails (its error). An event of the type `reset` says that the stream has not come as far
// as LastEventID (a backup was restored, say); the next event follows the `last_seq` in its data.
func (s *Stream) Follow(ctx context.Context, handle func(StreamEvent) error) error {
	if s.wait = s.FirstWait; s.wait == 0 {
		s.wait = firstStreamWait
	}
	s.failures = 0
	for {
		ended, asked, err := s.once(ctx, handle)
		if ended || err != nil {
			return err
		}
		s.failures++
		if err := sleep(ctx, pauseBefore(s.wait, s.failures, asked, rand.Float64())); err != nil {
			return err
		}
	}
}

// once is one connection. A lost one is no error.
func (s *Stream) once(ctx context.Context, handle func(StreamEvent) error) (bool, time.Duration, error) {
	own, stop := context.WithCancel(ctx)
	defer stop()
	request, err := s.request(own)
	if err != nil {
		return false, 0, err
	}
	if s.Token != nil {
		token, err := s.Token(ctx)
		if err != nil {
			return false, 0, ctx.Err()
		}
		request.Header.Set("Authorization", "Bearer "+token)
	}
	longest := s.Silence
	if longest == 0 {
		longest = silence
	}
	quiet := time.AfterFunc(longest, stop)
	defer quiet.Stop()
	client := s.Client
	if client == nil {
		client = http.DefaultClient
	}
	response, err := client.Do(request)
	if err != nil {
		return false, 0, ctx.Err()
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusNoContent:
		return true, 0, nil
	case response.StatusCode == http.StatusOK:
		return false, 0, s.read(ctx, response.Body, func() { quiet.Reset(longest) }, handle)
	}
	asked, err := s.refused(response)
	return false, asked, err
}

func (s *Stream) request(ctx context.Context) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		return nil, err
	}
	for name, values := range s.Header {
		request.Header[name] = values
	}
	request.Header.Set("Accept", "text/event-stream")
	request.Header.Set("Cache-Control", "no-store")
	if s.LastEventID != "" {
		request.Header.Set("Last-Event-ID", s.LastEventID)
	}
	return request, nil
}

func (s *Stream) read(ctx context.Context, body io.Reader, heard func(), handle func(StreamEvent) error) error {
	s.tokensRefused = 0
	parser := NewEventParser(s.LastEventID)
	piece := make([]byte, readBytes)
	for {
		heard()
		count, err := body.Read(piece)
		for _, event := range parser.Feed(piece[:count]) {
			if err := handle(event); err != nil {
				return err
			}
			heard() // whoever takes the events may take their time
			s.failures, s.LastEventID = 0, event.ID
		}
		s.LastEventID = parser.LastEventID
		if parser.HasRetry {
			s.wait = time.Duration(parser.RetryMS) * time.Millisecond
		}
		if err != nil {
			return ctx.Err()
		}
	}
}

func (s *Stream) refused(response *http.Response) (time.Duration, error) {
	if response.StatusCode == http.StatusUnauthorized && s.Token != nil && s.tokensRefused < tokensRefused-1 {
		s.tokensRefused++
		return 0, nil
	}
	if isForNow(response.StatusCode) {
		return retryAfter(response.Header), nil
	}
	body, _ := io.ReadAll(io.LimitReader(response.Body, refusalBytes))
	return 0, &StreamRefused{response.StatusCode, string(body)}
}

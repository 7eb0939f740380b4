package twofold

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	pageWait      = 20 * time.Second       // for events, before a page without any is answered
	firstReadWait = 500 * time.Millisecond // before the first repeat of what the server did not answer
	turn          = 5 * time.Second        // between looks whether another reader has committed, which may be long before its lease is over
	longestPage   = 1 << 30                // of an answer: a thousand events of the largest size are a quarter of it
)

// FeedFilter says which events of the feed: Streams as "call:call_42", Kinds of streams, Types as "call.*", Content as an
// endpoint's content filter. What is left out is all.
type FeedFilter struct {
	Streams, Kinds, Types []string
	Content               json.RawMessage
}

// LiveURL is where a Stream follows the feed: its Header holds an API key, or its Token returns tokens of the feed. An
// event's ID is a cursor. An event of the type `reset` says that events behind the last cursor are missing; the feed goes
// on from its ID.
func (f FeedFilter) LiveURL(baseURL string) string {
	query := url.Values{}
	for name, all := range map[string][]string{"streams": f.Streams, "kinds": f.Kinds, "types": f.Types} {
		if len(all) > 0 {
			query.Set(name, strings.Join(all, ","))
		}
	}
	if len(f.Content) > 0 {
		query.Set("content_filter", string(f.Content))
	}
	address := strings.TrimRight(baseURL, "/") + "/v1/feed/live"
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	return address
}

// FeedEntry is an event of the feed, with the cursor behind it.
type FeedEntry struct {
	Cursor string `json:"cursor"`
	Event  Event  `json:"event"`
}

// FeedLease is a page of a consumer. Without events there is no lease, and nothing to commit.
type FeedLease struct {
	Lease   string      `json:"lease"`
	Entries []FeedEntry `json:"data"`
	Cursor  string      `json:"cursor"`
	More    bool        `json:"more"`
}

// FeedRefused says that the server said no. Code is what to match on: `lease_held` while somebody else reads, `lease_lost`
// when somebody else has read meanwhile, `cursor_lost` and `cursor_gone` when events are missing: seek to Cursor then.
type FeedRefused struct {
	Status int    `json:"-"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Cursor string `json:"cursor"`

	after time.Duration
}

func (e *FeedRefused) Error() string { return fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Detail) }

// Consumer is a reader of the feed whose place the server keeps under a name. Make it there first
// (PUT /v1/feed/consumers/{name}). Several processes may read one consumer; they take turns.
//
// Workspace is for a platform key. Limit and LeaseSeconds are the server's defaults when 0; Client is http.DefaultClient
// when nil.
type Consumer struct {
	BaseURL, Key, Name string
	Workspace          string
	Limit              int
	LeaseSeconds       int
	Client             *http.Client
}

// Follow hands each page of events to handle and commits it then, until the context ends (its error), the server refuses
// (*FeedRefused), or handle fails (its error; the page is read again). It goes on over outages of the server, and while
// somebody else reads it asks every five seconds. Handle an event twice without harm: a page that took longer than its
// lease may go to somebody else, too.
func (c *Consumer) Follow(ctx context.Context, handle func([]FeedEntry) error) error {
	for {
		var page FeedLease
		key, err := newIdempotencyKey()
		if err != nil {
			return err
		}
		read := func() (err error) {
			page, err = c.read(ctx, pageWait, key)
			return err
		}
		if err := untilAnswered(ctx, read, "lease_held", "lease_lost"); err != nil {
			return err
		}
		if page.Lease == "" {
			continue
		}
		if err := handle(page.Entries); err != nil {
			return err
		}
		err = untilAnswered(ctx, func() error { return c.Commit(ctx, page.Lease, "") })
		if refused, ok := err.(*FeedRefused); ok && refused.Code == "lease_lost" {
			continue // the page took longer than its lease, and somebody reads it again
		}
		if err != nil {
			return err
		}
	}
}

// Read reads the next events, with a lease: until it is committed or over, nobody else reads. wait is how long the server
// waits for events, whole seconds, 30 at most.
func (c *Consumer) Read(ctx context.Context, wait time.Duration) (FeedLease, error) {
	key, err := newIdempotencyKey()
	if err != nil {
		return FeedLease{}, err
	}
	return c.read(ctx, wait, key)
}

// Commit says what was handled: up to this cursor of the page, or all of it when it is empty. The rest is read again.
func (c *Consumer) Commit(ctx context.Context, lease, cursor string) error {
	members := map[string]any{"lease": lease}
	if cursor != "" {
		members["cursor"] = cursor
	}
	return c.ask(ctx, "/commit", members, 0, "", nil)
}

// Seek moves the consumer: to earliest, latest, a time (RFC 3339) or a cursor.
func (c *Consumer) Seek(ctx context.Context, to string) error {
	return c.ask(ctx, "/seek", map[string]any{"to": to}, 0, "", nil)
}

func (c *Consumer) read(ctx context.Context, wait time.Duration, key string) (page FeedLease, err error) {
	members := map[string]any{"wait": int(wait.Seconds())}
	if c.Limit > 0 {
		members["limit"] = c.Limit
	}
	if c.LeaseSeconds > 0 {
		members["lease_seconds"] = c.LeaseSeconds
	}
	err = c.ask(ctx, "/read", members, wait, key, &page)
	return page, err
}

func (c *Consumer) ask(ctx context.Context, path string, members map[string]any, wait time.Duration, key string,
	found any) error {
	own, stop := context.WithTimeout(ctx, wait+answerTime)
	defer stop()
	body, _ := json.Marshal(members)
	address := strings.TrimRight(c.BaseURL, "/") + "/v1/feed/consumers/" + url.PathEscape(c.Name) + path
	request, err := http.NewRequestWithContext(own, http.MethodPost, address, bytes.NewReader(body))
	if err == nil && (request.URL.Scheme != "http" && request.URL.Scheme != "https" || request.URL.Host == "") {
		err = fmt.Errorf("%q does not begin with https:// and a host", c.BaseURL)
	}
	if err != nil {
		return fmt.Errorf("no address: %w", err) // not as a lost connection, which is tried again
	}
	request.Header.Set("Authorization", "Bearer "+c.Key)
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	if c.Workspace != "" {
		request.Header.Set("X-Workspace", c.Workspace)
	}
	client := c.Client
	if client == nil {
		client = http.DefaultClient
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, longestPage))
	if err != nil {
		return &url.Error{Op: "Post", URL: address, Err: err}
	}
	if response.StatusCode >= 300 {
		refused := &FeedRefused{after: retryAfter(response.Header)}
		if json.Unmarshal(text, refused) != nil {
			refused.Detail = string(text[:min(len(text), refusalBytes)]) // what a proxy says is no JSON
		}
		refused.Status = response.StatusCode
		return refused
	}
	if found == nil {
		return nil
	}
	return json.Unmarshal(text, found)
}

// untilAnswered asks until the server answers. passing are codes of refusals that pass.
func untilAnswered(ctx context.Context, ask func() error, passing ...string) error {
	for failures := 1; ; failures++ {
		err := ask()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		pause := pauseBefore(firstReadWait, failures, 0, rand.Float64())
		switch refused := err.(type) {
		case *FeedRefused:
			passes := false
			for _, code := range passing {
				passes = passes || refused.Code == code
			}
			if passes {
				pause = min(pause, turn)
			} else if isForNow(refused.Status) {
				pause = max(pause, refused.after)
			} else {
				return err
			}
		case *url.Error: // the connection was lost, or took too long
		default:
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

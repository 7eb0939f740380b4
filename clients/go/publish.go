package twofold

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	firstPublishWait = 250 * time.Millisecond // before a request is made again the first time
	answerTime       = 30 * time.Second       // the server itself gives a batch up after some ten seconds
	mostEvents       = 500                    // half of what a server takes unless it is set otherwise
	mostBytes        = 1 << 20                // a quarter of it
	mostWaiting      = 10_000
)

// ErrNotSent says that the publisher was closed before the server had answered for an event. It may be stored
// nevertheless: publish it again with the same idempotency key.
var ErrNotSent = errors.New("not sent")

// ErrClosed says that the publisher takes no more events.
var ErrClosed = errors.New("this Publisher is closed")

// NewEvent is an event to publish. Data is a JSON object, posted as it is spelled. IdempotencyKey is one that you keep,
// so that the event can be published again after a crash; one is made otherwise. OccurredAt may be zero. Metadata is a JSON
// object of texts, numbers and truth values that travels in the envelope; Channels are labels that endpoints can ask for.
type NewEvent struct {
	Stream         StreamName
	Type           string
	Data           json.RawMessage
	IdempotencyKey string
	OccurredAt     time.Time
	Metadata       json.RawMessage
	Channels       []string
}

// Published is what the server says of an event that is stored. Duplicate: it was already, by its idempotency key.
type Published struct {
	ID        string `json:"id"`
	Seq       int64  `json:"seq"`
	Duplicate bool   `json:"duplicate"`
}

// EventRefused says that the server will not store an event.
type EventRefused struct {
	Status         int    `json:"status"`
	Code           string `json:"code"`
	Detail         string `json:"detail"`
	IdempotencyKey string `json:"-"`
}

func (e *EventRefused) Error() string { return fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Detail) }

// Pending is an event that was published and may not be answered for yet.
type Pending struct {
	IdempotencyKey string

	event   []byte
	done    chan struct{}
	answer  Published
	refusal error
}

// Wait returns the server's answer: Published, or *EventRefused, ErrNotSent or the context's error.
func (p *Pending) Wait(ctx context.Context) (Published, error) {
	select {
	case <-p.done:
		return p.answer, p.refusal
	case <-ctx.Done():
		return Published{}, ctx.Err()
	}
}

// Event is the event's JSON, with its idempotency key.
func (p *Pending) Event() []byte { return p.event }

// Publisher collects events, posts them in batches, and posts them again until the server has answered for each. One
// request goes at a time, so the events of a stream keep their order. Make it with NewPublisher.
type Publisher struct {
	// Workspace is for a platform key: whose events these are, by id or uid. Set it before the first event.
	Workspace string
	// Client is http.DefaultClient when nil.
	Client *http.Client

	url, key   string
	mutex      sync.Mutex
	waiting    []*Pending
	changed    chan struct{} // closed and replaced when the queue changes
	closed     bool
	running    bool
	stop       context.CancelFunc
	stopped    context.Context
	mostEvents int
	failures   int
}

// NewPublisher publishes to the server at baseURL with a key that has the scope `publish`.
func NewPublisher(baseURL, key string) *Publisher {
	stopped, stop := context.WithCancel(context.Background())
	return &Publisher{url: strings.TrimRight(baseURL, "/") + "/v1/events", key: key, changed: make(chan struct{}),
		stop: stop, stopped: stopped, mostEvents: mostEvents}
}

// Waiting is how many events the server has not answered for yet.
func (p *Publisher) Waiting() int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return len(p.waiting)
}

// Publish queues an event. While the queue is full it waits, until the context ends. It fails with ErrClosed, and for
// data that are not a JSON object.
func (p *Publisher) Publish(ctx context.Context, event NewEvent) (*Pending, error) {
	pending, err := spell(event)
	if err != nil {
		return nil, err
	}
	hasRoom := func() bool { return p.closed || len(p.waiting) < mostWaiting }
	if err := p.await(ctx, hasRoom); err != nil {
		return nil, err
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	p.waiting = append(p.waiting, pending)
	if !p.running {
		p.running = true
		go p.run()
	}
	return pending, nil
}

// Flush waits until the server has answered for everything that was published, or the context ends.
func (p *Publisher) Flush(ctx context.Context) error {
	return p.await(ctx, func() bool { return len(p.waiting) == 0 })
}

// Close takes no more events, waits for what is waiting until the context ends, and stops. It returns what the server
// has not answered for. Call it before the program ends: what is in the queue ends with it.
func (p *Publisher) Close(ctx context.Context) []*Pending {
	p.mutex.Lock()
	p.closed = true
	p.tell()
	p.mutex.Unlock()
	_ = p.Flush(ctx) // what is left says whether it was in time
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.stop()
	left := p.waiting
	p.waiting = nil
	for _, pending := range left {
		pending.finish(Published{}, ErrNotSent)
	}
	p.tell()
	return left
}

// await returns when look, which is called with the mutex held, says so.
func (p *Publisher) await(ctx context.Context, look func() bool) error {
	for {
		p.mutex.Lock()
		done, changed := look(), p.changed
		p.mutex.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tell wakes whoever waits for the queue. With the mutex held.
func (p *Publisher) tell() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Publisher) run() {
	for {
		batch := p.next()
		if batch == nil {
			return
		}
		asked := p.post(batch)
		if p.failures > 0 {
			_ = sleep(p.stopped, pauseBefore(firstPublishWait, p.failures, asked, rand.Float64()))
		}
	}
}

// next is what goes into the next request; it stays in the queue until it is answered. None: there is nothing to do.
func (p *Publisher) next() []*Pending {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	count, total := 0, 0
	for _, pending := range p.waiting {
		if total += len(pending.event); count > 0 && (count == p.mostEvents || total > mostBytes) {
			break
		}
		count++
	}
	if count == 0 {
		p.running = false
		return nil
	}
	return append([]*Pending(nil), p.waiting[:count]...)
}

// post makes one request and sees what becomes of its events. It returns how long the server asks to wait.
func (p *Publisher) post(batch []*Pending) time.Duration {
	status, header, body, err := p.exchange(batch)
	if err != nil {
		p.failures++
		return 0
	}
	var answers struct{ Data []json.RawMessage }
	switch {
	case status == http.StatusAccepted:
		if json.Unmarshal(body, &answers) != nil || len(answers.Data) != len(batch) {
			p.failures++ // not an answer of this server's
			return 0
		}
		p.settle(batch, answers.Data)
	case isForNow(status):
		p.failures++
	case len(batch) > 1 && status >= 400 && !isAboutTheCaller(status):
		p.mostEvents, p.failures = len(batch)/2, 0 // one of them spoils the request: find it
	default:
		refusal := EventRefused{Detail: string(body[:min(len(body), 200)])} // what a proxy says is no JSON
		_ = json.Unmarshal(body, &refusal)
		refusal.Status = status
		text, _ := json.Marshal(refusal)
		for range batch {
			answers.Data = append(answers.Data, text)
		}
		p.settle(batch, answers.Data)
	}
	return retryAfter(header)
}

// isAboutTheCaller says whether a smaller request would fare no better.
func isAboutTheCaller(status int) bool {
	return status == 401 || status == 403 || status == 404 || status == 405
}

func (p *Publisher) exchange(batch []*Pending) (int, http.Header, []byte, error) {
	events := make([][]byte, len(batch))
	for index, pending := range batch {
		events[index] = pending.event
	}
	body := append(append([]byte("["), bytes.Join(events, []byte(","))...), ']')
	ctx, cancel := context.WithTimeout(p.stopped, answerTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+p.key)
	request.Header.Set("Content-Type", "application/json")
	if p.Workspace != "" {
		request.Header.Set("X-Workspace", p.Workspace)
	}
	client := p.Client
	if client == nil {
		client = http.DefaultClient
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, response.Header, answer, err
}

// settle takes what is answered out of the queue; the rest stays where it is, so that the order holds.
func (p *Publisher) settle(batch []*Pending, answers []json.RawMessage) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.stopped.Err() != nil {
		return
	}
	var open []*Pending
	for index, pending := range batch {
		answer, refusal := readAnswer(answers[index], pending.IdempotencyKey)
		if refusal != nil && isForNow(refusal.Status) {
			open = append(open, pending)
		} else if refusal != nil {
			pending.finish(Published{}, refusal)
		} else {
			pending.finish(answer, nil)
		}
	}
	p.waiting = append(open, p.waiting[len(batch):]...)
	switch { // something was answered: what is left is tried soon again, not later each time
	case len(open) == 0:
		p.failures = 0
	case len(open) < len(batch):
		p.failures = 1
	default:
		p.failures++
	}
	p.mostEvents = max(p.mostEvents, min(mostEvents, 2*len(batch)))
	p.tell()
}

func readAnswer(raw json.RawMessage, key string) (Published, *EventRefused) {
	var answer Published
	if json.Unmarshal(raw, &answer) == nil && answer.Seq > 0 {
		return answer, nil
	}
	refusal := &EventRefused{Status: http.StatusInternalServerError, IdempotencyKey: key}
	_ = json.Unmarshal(raw, refusal)
	return Published{}, refusal
}

func (p *Pending) finish(answer Published, refusal error) {
	p.answer, p.refusal = answer, refusal
	close(p.done)
}

func spell(event NewEvent) (*Pending, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(event.Data, &object); err != nil || object == nil {
		return nil, fmt.Errorf("an event's data is a JSON object: %q", event.Data)
	}
	key := event.IdempotencyKey
	if key == "" {
		var err error
		if key, err = newIdempotencyKey(); err != nil {
			return nil, err
		}
	}
	head := map[string]any{"stream": event.Stream, "type": event.Type, "idempotency_key": key}
	if !event.OccurredAt.IsZero() {
		head["occurred_at"] = event.OccurredAt.Format(time.RFC3339Nano)
	}
	if event.Channels != nil {
		head["channels"] = event.Channels
	}
	text, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	text = append(append(text[:len(text)-1], `,"data":`...), event.Data...)
	if event.Metadata != nil {
		if err := json.Unmarshal(event.Metadata, &object); err != nil {
			return nil, fmt.Errorf("an event's metadata are a JSON object: %q", event.Metadata)
		}
		text = append(append(text, `,"metadata":`...), event.Metadata...)
	}
	text = append(text, '}')
	return &Pending{IdempotencyKey: key, event: text, done: make(chan struct{})}, nil
}

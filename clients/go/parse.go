package twofold

import (
	"bytes"
	"strings"
)

// StreamEvent is one event of a stream. ID is where a reader stands after it: what Stream.LastEventID takes.
type StreamEvent struct {
	Type string
	Data string
	ID   string
}

// EventParser reads server-sent events out of bytes, as
// https://html.spec.whatwg.org/multipage/server-sent-events.html says. Its zero value is ready for a new stream.
type EventParser struct {
	LastEventID string
	RetryMS     int // what the server said last of the wait before a reconnect
	HasRetry    bool

	rest      []byte
	started   bool
	afterCR   bool // the last piece ended in CR: an LF at the start of the next belongs to it
	id        string
	eventType string
	data      []string
}

// NewEventParser goes on behind lastEventID.
func NewEventParser(lastEventID string) *EventParser {
	return &EventParser{LastEventID: lastEventID, id: lastEventID}
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// Feed returns the events that a piece of any size completes. What is still open waits for the next piece.
func (p *EventParser) Feed(piece []byte) []StreamEvent {
	if len(piece) == 0 {
		return nil
	}
	if p.afterCR {
		piece = bytes.TrimPrefix(piece, []byte("\n"))
		p.afterCR = false
	}
	searched := len(p.rest) // no end of a line before: a long line in many pieces is not read again with each
	p.rest = append(p.rest, piece...)
	if !p.started {
		if bytes.HasPrefix(byteOrderMark, p.rest) { // fewer than three bytes so far, or the mark and no more
			return nil
		}
		p.started, searched = true, 0
		p.rest = bytes.TrimPrefix(p.rest, byteOrderMark)
	}
	var events []StreamEvent
	for {
		end := bytes.IndexAny(p.rest[searched:], "\r\n")
		if end < 0 {
			return events
		}
		end += searched
		next := end + 1
		if p.rest[end] == '\r' {
			if next == len(p.rest) {
				p.afterCR = true
			} else if p.rest[next] == '\n' {
				next++
			}
		}
		if event, complete := p.take(strings.ToValidUTF8(string(p.rest[:end]), "\ufffd")); complete {
			events = append(events, event)
		}
		p.rest, searched = p.rest[next:], 0
	}
}

func (p *EventParser) take(line string) (StreamEvent, bool) {
	if line == "" {
		return p.dispatch()
	}
	field, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	switch field { // a comment begins with a colon, so its field is empty
	case "data":
		p.data = append(p.data, value)
	case "event":
		p.eventType = value
	case "id":
		if !strings.Contains(value, "\x00") {
			p.id = value
		}
	case "retry":
		if number, ok := wholeNumber(value); ok {
			p.RetryMS, p.HasRetry = number, true
		}
	}
	return StreamEvent{}, false
}

func (p *EventParser) dispatch() (StreamEvent, bool) {
	p.LastEventID = p.id
	event := StreamEvent{Type: p.eventType, Data: strings.Join(p.data, "\n"), ID: p.id}
	if event.Type == "" {
		event.Type = "message"
	}
	complete := len(p.data) > 0
	p.eventType, p.data = "", nil
	return event, complete
}

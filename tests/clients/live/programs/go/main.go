// Command programs follows a stream, publishes to one, or reads the feed, with the Go package.
//
//	programs feed BASE_URL KEY KIND CURSOR                   live and as a consumer: {"by", "id", "cursor"}
//	programs follow BASE_URL KEY KIND ID [TOKENS_BASE_URL]   one line for each event: {"type", "data", "id"}
//	programs publish BASE_URL KEY KIND ID COUNT              one each 5 ms; for each answer: {"key", "id", "seq"}
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"twofold"
)

func main() {
	what, baseURL, key, kind, id, rest := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6:]
	var err error
	switch what {
	case "follow":
		err = follow(baseURL, key, kind, id, append(rest, baseURL)[0])
	case "feed":
		err = feed(baseURL, key, kind, id)
	default:
		err = publish(baseURL, key, kind, id, rest[0])
	}
	if err != nil {
		log.Fatal(err)
	}
}

func follow(baseURL, key, kind, id, tokensAt string) error {
	token := func(ctx context.Context) (string, error) {
		address := fmt.Sprintf("%s/v1/streams/%s/%s/tokens", tokensAt, kind, id)
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, nil)
		if err != nil {
			return "", err
		}
		request.Header.Set("Authorization", "Bearer "+key)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return "", err
		}
		defer answer.Body.Close()
		var made struct{ Token string }
		err = json.NewDecoder(answer.Body).Decode(&made)
		return made.Token, err
	}
	address := fmt.Sprintf("%s/v1/streams/%s/%s/live", baseURL, kind, id)
	stream := twofold.Stream{URL: address, Token: token, LastEventID: "0"}
	return stream.Follow(context.Background(), func(event twofold.StreamEvent) error {
		return told(map[string]any{"type": event.Type, "data": event.Data, "id": event.ID})
	})
}

// feed reads as a consumer that the caller has made, and live.
func feed(baseURL, key, kind, cursor string) error {
	ended := make(chan error)
	go func() {
		consumer := twofold.Consumer{BaseURL: baseURL, Key: key, Name: "go-" + kind}
		ended <- consumer.Follow(context.Background(), func(entries []twofold.FeedEntry) error {
			for _, entry := range entries {
				_ = told(map[string]any{"by": "consumer", "id": entry.Event.ID, "cursor": entry.Cursor})
			}
			return nil
		})
	}()
	go func() {
		stream := twofold.Stream{URL: twofold.FeedFilter{Kinds: []string{kind}}.LiveURL(baseURL), LastEventID: cursor,
			Header: http.Header{"Authorization": {"Bearer " + key}}}
		ended <- stream.Follow(context.Background(), func(event twofold.StreamEvent) error {
			var envelope twofold.Event
			if err := json.Unmarshal([]byte(event.Data), &envelope); err != nil {
				return err
			}
			return told(map[string]any{"by": "live", "id": envelope.ID, "cursor": event.ID})
		})
	}()
	return <-ended
}

func publish(baseURL, key, kind, id, count string) error {
	number, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	publisher := twofold.NewPublisher(baseURL, key)
	var all []*twofold.Pending
	for n := 0; n < number; n++ {
		pending, err := publisher.Publish(context.Background(), twofold.NewEvent{
			Stream: twofold.StreamName{Kind: kind, ID: id}, Type: "note.added",
			Data: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)), IdempotencyKey: fmt.Sprintf("%s-%d", id, n)})
		if err != nil {
			return err
		}
		all = append(all, pending)
		time.Sleep(5 * time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	publisher.Close(ctx)
	for _, pending := range all {
		answer, err := pending.Wait(ctx)
		if err != nil {
			return err
		}
		err = told(map[string]any{"key": pending.IdempotencyKey, "id": answer.ID, "seq": answer.Seq})
		if err != nil {
			return err
		}
	}
	return nil
}

var printing sync.Mutex

func told(line map[string]any) error {
	printing.Lock()
	defer printing.Unlock()
	return json.NewEncoder(os.Stdout).Encode(line)
}

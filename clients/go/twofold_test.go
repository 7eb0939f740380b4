package twofold

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strconv"
	"testing"
	"time"
)

type vectors struct {
	Signatures []struct {
		Name      string
		Secrets   []string
		Headers   map[string]string
		Body      string
		Now       int64
		Tolerance int64 `json:"tolerance_seconds"`
		Valid     bool
	}
	Malformed []string `json:"malformed_secrets"`
	Envelopes []struct {
		Name, ID, Type, Data, Body, Secret string
		Seq                                int64
		Stream                             StreamName
		Headers                            map[string]string
		Now                                int64
	}
	Batches []struct {
		Name, Body, Secret string
		Headers            map[string]string
		Now                int64
		Valid              bool
		IDs                []string
	}
	Streams []struct {
		Name, Text  string
		Events      []StreamEvent
		LastEventID string `json:"last_event_id"`
		RetryMS     *int   `json:"retry_ms"`
	}
}

func read(t *testing.T) vectors {
	t.Helper()
	text, err := os.ReadFile("../vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var found vectors
	if err := json.Unmarshal(text, &found); err != nil {
		t.Fatal(err)
	}
	return found
}

func headers(given map[string]string) http.Header {
	made := http.Header{}
	for name, value := range given {
		made.Set(name, value)
	}
	return made
}

func clock(seconds int64) func() time.Time {
	return func() time.Time { return time.Unix(seconds, 0) }
}

func TestSignatures(t *testing.T) {
	for _, one := range read(t).Signatures {
		verifier := Verifier{one.Secrets, time.Duration(one.Tolerance) * time.Second, clock(one.Now)}
		err := verifier.VerifySignature(headers(one.Headers), []byte(one.Body))
		if (err == nil) != one.Valid || (err != nil && !errors.Is(err, ErrNotGenuine)) {
			t.Errorf("%s: %v", one.Name, err)
		}
	}
}

func TestMalformedSecretsAreNamed(t *testing.T) {
	found := read(t)
	one := found.Signatures[0]
	for _, secret := range found.Malformed {
		_, err := Verifier{Secrets: []string{secret}, Now: clock(one.Now)}.Verify(headers(one.Headers), []byte(one.Body))
		if !errors.Is(err, ErrSecret) {
			t.Errorf("%q: %v", secret, err)
		}
	}
}

func TestEnvelopes(t *testing.T) {
	for _, one := range read(t).Envelopes {
		verifier := Verifier{Secrets: []string{one.Secret}, Now: clock(one.Now)}
		event, err := verifier.Verify(headers(one.Headers), []byte(one.Body))
		if err != nil || string(event.Data) != one.Data || event.ID != one.ID || event.Seq != one.Seq ||
			event.Stream != one.Stream || event.Type != one.Type {
			t.Errorf("%s: %v, %+v", one.Name, err, event)
		}
	}
}

func TestBatches(t *testing.T) {
	for _, one := range read(t).Batches {
		verifier := Verifier{Secrets: []string{one.Secret}, Now: clock(one.Now)}
		events, err := verifier.VerifyBatch(headers(one.Headers), []byte(one.Body))
		ids := []string{}
		for _, event := range events {
			ids = append(ids, event.ID)
		}
		if (err == nil) != one.Valid || !reflect.DeepEqual(ids, one.IDs) || (err != nil && !errors.Is(err, ErrNotGenuine)) {
			t.Errorf("%s: %v, %v", one.Name, err, ids)
		}
	}
}

func TestStreamsInPiecesOfAnySize(t *testing.T) {
	for _, one := range read(t).Streams {
		for _, size := range []int{1, 2, 3, 7, 1_000_000} {
			parser, events := NewEventParser(""), []StreamEvent{}
			for at := 0; at < len(one.Text); at += size {
				events = append(events, parser.Feed([]byte(one.Text[at:min(at+size, len(one.Text))]))...)
			}
			if !reflect.DeepEqual(events, one.Events) || parser.LastEventID != one.LastEventID ||
				parser.HasRetry != (one.RetryMS != nil) || (one.RetryMS != nil && parser.RetryMS != *one.RetryMS) {
				t.Errorf("%s by %d: %q", one.Name, size, events)
			}
		}
	}
}

// resuming answers with the rest of three events, then 204; cut ends its first answer in the middle.
func resuming(cut int, heard func(*http.Request)) http.HandlerFunc {
	return func(answer http.ResponseWriter, request *http.Request) {
		heard(request)
		last, _ := strconv.Atoi(request.Header.Get("Last-Event-ID"))
		if last >= 3 {
			answer.WriteHeader(http.StatusNoContent)
			return
		}
		text := ""
		for number := last + 1; number <= 3; number++ {
			text += fmt.Sprintf("event: note\nid: %d\ndata: %d é\n\n", number, number)
		}
		if cut > 0 {
			text = text[:min(cut, len(text))]
			cut = 0
		}
		answer.Header().Set("Content-Type", "text/event-stream")
		_, _ = answer.Write([]byte(text))
		answer.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

func TestCutAtEveryByteNothingIsMissingAndNothingComesTwice(t *testing.T) {
	for cut := 1; cut < 100; cut += 3 {
		server := httptest.NewServer(resuming(cut, func(*http.Request) {}))
		seen := ""
		stream := Stream{URL: server.URL, FirstWait: time.Nanosecond}
		err := stream.Follow(context.Background(), func(event StreamEvent) error {
			seen += event.ID + event.Data + ";"
			return nil
		})
		if err != nil || seen != "11 é;22 é;33 é;" {
			t.Fatalf("cut at byte %d: %q, %v", cut, seen, err)
		}
		server.Close()
	}
}

func TestEachConnectionAsksForATokenAndRefusalsEndIt(t *testing.T) {
	var given []string
	handler := resuming(0, func(*http.Request) {})
	server := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		given = append(given, request.Header.Get("Authorization"))
		if len(given) < 3 || request.URL.Path == "/closed" {
			http.Error(answer, "no", http.StatusUnauthorized)
			return
		}
		handler(answer, request)
	}))
	defer server.Close()
	number := 0
	token := func(context.Context) (string, error) { number++; return fmt.Sprint(number), nil }
	ignore := func(StreamEvent) error { return nil }
	stream := Stream{URL: server.URL, Token: token, FirstWait: time.Nanosecond}
	if err := stream.Follow(context.Background(), ignore); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(given) != "[Bearer 1 Bearer 2 Bearer 3 Bearer 4]" {
		t.Fatal(given)
	}
	stream = Stream{URL: server.URL + "/closed", Token: token, FirstWait: time.Nanosecond}
	var refused *StreamRefused
	if err := stream.Follow(context.Background(), ignore); !errors.As(err, &refused) || refused.Status != 401 {
		t.Fatal(err)
	}
}

func TestASilentConnectionIsOpenedAnew(t *testing.T) {
	count := 0
	server := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		if count++; count > 1 {
			answer.WriteHeader(http.StatusNoContent)
			return
		}
		_, _ = answer.Write([]byte(": keepalive\n"))
		answer.(http.Flusher).Flush()
		<-request.Context().Done()
	}))
	defer server.Close()
	stream := Stream{URL: server.URL, FirstWait: time.Nanosecond, Silence: 50 * time.Millisecond}
	if err := stream.Follow(context.Background(), func(StreamEvent) error { return nil }); err != nil || count != 2 {
		t.Fatal(err, count)
	}
}

// taking is a server for publishers. judge returns the status of a request, and of an event by its key (0: stored).
func taking(judge func(count int, keys []string) (int, map[string]int)) (*httptest.Server, *[][]string) {
	var requests [][]string
	return httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		var events []struct {
			Key string `json:"idempotency_key"`
		}
		_ = json.NewDecoder(request.Body).Decode(&events)
		var keys []string
		for _, event := range events {
			keys = append(keys, event.Key)
		}
		requests = append(requests, keys)
		status, refused := judge(len(requests), keys)
		var data []map[string]any
		for _, key := range keys {
			one := map[string]any{"id": "evt_" + key, "seq": 1}
			if refused[key] > 0 {
				one = map[string]any{"status": refused[key], "code": "made_up"}
			}
			data = append(data, one)
		}
		answer.WriteHeader(status)
		_ = json.NewEncoder(answer).Encode(map[string]any{"data": data, "code": "whole"})
	})), &requests
}

func event(key string) NewEvent {
	return NewEvent{Stream: StreamName{"call", "c"}, Type: "a", Data: json.RawMessage(`{"n":1e2}`), IdempotencyKey: key}
}

func TestEachEventIsPostedUntilItIsAnswered(t *testing.T) {
	server, requests := taking(func(count int, keys []string) (int, map[string]int) {
		switch count {
		case 1:
			return 503, nil
		case 2:
			return 202, map[string]int{"k0": 503, "k1": 409}
		}
		return 202, nil
	})
	defer server.Close()
	publisher := NewPublisher(server.URL, "pk")
	var pending []*Pending
	publisher.mutex.Lock() // so that the first request has all three
	publisher.running = true
	publisher.mutex.Unlock()
	for _, key := range []string{"k0", "k1", "k2"} {
		one, err := publisher.Publish(context.Background(), event(key))
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, one)
	}
	go publisher.run()
	if answer, err := pending[0].Wait(context.Background()); err != nil || answer.ID != "evt_k0" {
		t.Error(answer, err)
	}
	var refused *EventRefused
	if _, err := pending[1].Wait(context.Background()); !errors.As(err, &refused) || refused.Status != 409 {
		t.Error(err)
	}
	if left := publisher.Close(context.Background()); len(left) != 0 {
		t.Error(left)
	}
	if fmt.Sprint(*requests) != "[[k0 k1 k2] [k0 k1 k2] [k0]]" {
		t.Error(*requests)
	}
	if _, err := publisher.Publish(context.Background(), event("")); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestAnEventThatSpoilsARequestFailsAlone(t *testing.T) {
	server, _ := taking(func(_ int, keys []string) (int, map[string]int) {
		for _, key := range keys {
			if key == "bad" {
				return 413, nil
			}
		}
		return 202, nil
	})
	defer server.Close()
	publisher := NewPublisher(server.URL, "pk")
	for _, key := range []string{"a", "b", "bad", "c"} {
		one, err := publisher.Publish(context.Background(), event(key))
		if err != nil {
			t.Fatal(err)
		}
		var refused *EventRefused
		defer func(key string) {
			_, err := one.Wait(context.Background())
			if (key == "bad") != errors.As(err, &refused) || (err == nil) != (key != "bad") {
				t.Error(key, err)
			}
		}(key)
	}
}

func TestACloseTellsWhatIsUnsent(t *testing.T) {
	server, _ := taking(func(int, []string) (int, map[string]int) { return 503, nil })
	defer server.Close()
	publisher := NewPublisher(server.URL, "pk")
	one, _ := publisher.Publish(context.Background(), event(""))
	ended, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	left := publisher.Close(ended)
	if len(left) != 1 || left[0] != one || !json.Valid(one.Event()) {
		t.Error(left)
	}
	if _, err := one.Wait(context.Background()); !errors.Is(err, ErrNotSent) {
		t.Error(err)
	}
	for _, data := range []string{"", "[]", "null", "{"} {
		if _, err := NewPublisher(server.URL, "pk").Publish(ended, NewEvent{Data: json.RawMessage(data)}); err == nil {
			t.Error(data)
		}
	}
}

func TestTheFeedIsAskedForAsTheAPINamesIt(t *testing.T) {
	filter := FeedFilter{Streams: []string{"call:1", "call:2"}, Types: []string{"call.*"}, Content: []byte(`{"path":"/a"}`)}
	found := filter.LiveURL("http://localhost/")
	if found != "http://localhost/v1/feed/live?content_filter=%7B%22path%22%3A%22%2Fa%22%7D&streams=call%3A1%2Ccall%3A2&types=call.%2A" {
		t.Fatal(found)
	}
	if found := (FeedFilter{}).LiveURL("http://localhost"); found != "http://localhost/v1/feed/live" {
		t.Fatal(found)
	}
}

func TestAConsumerGoesOnOverWhatPassesAndCommitsWhatWasHandled(t *testing.T) {
	page := `{"lease": "%s", "data": [{"cursor": "c", "event": {"id": "%s"}}], "cursor": "c"}`
	answers := []struct {
		status int
		text   string
	}{
		{0, ""}, {503, "<"}, {200, fmt.Sprintf(page, "l1", "e1")}, {0, ""}, {200, "{}"}, {409, `{"code": "lease_held"}`},
		{200, `{"lease": null, "data": []}`}, {200, fmt.Sprintf(page, "l2", "e2")}, {409, `{"code": "lease_lost"}`},
		{410, `{"code": "cursor_gone", "cursor": "c9"}`},
	}
	keys, asked := map[string]bool{}, []string{}
	server := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		one := answers[len(asked)]
		asked = append(asked, request.URL.Path)
		keys[request.Header.Get("Idempotency-Key")] = true
		if one.status == 0 {
			panic(http.ErrAbortHandler)
		}
		answer.WriteHeader(one.status)
		_, _ = answer.Write([]byte(one.text))
	}))
	defer server.Close()
	seen := ""
	consumer := Consumer{BaseURL: server.URL, Key: "pk", Name: "c"}
	err := consumer.Follow(context.Background(), func(entries []FeedEntry) error {
		seen += entries[0].Event.ID
		return nil
	})
	var refused *FeedRefused
	if !errors.As(err, &refused) || refused.Code != "cursor_gone" || refused.Cursor != "c9" || refused.Status != 410 {
		t.Fatal(err)
	}
	if seen != "e1e2" || len(keys) != 5 || asked[3] != "/v1/feed/consumers/c/commit" || len(asked) != len(answers) {
		t.Fatal(seen, keys, asked)
	}
}

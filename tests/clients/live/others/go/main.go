// Command others follows a stream with clients for Go that others wrote, as their READMEs show it.
//
//	others r3labs|tmaxmax URL KEY   one line for each event: {"type", "data", "id"}
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"

	r3labs "github.com/r3labs/sse/v2"
	tmaxmax "github.com/tmaxmax/go-sse"
)

func main() {
	which, url, key := os.Args[1], os.Args[2], os.Args[3]
	if which == "r3labs" {
		client := r3labs.NewClient(url)
		client.Headers["Authorization"] = "Bearer " + key
		log.Print(client.SubscribeRaw(func(event *r3labs.Event) {
			told(string(event.Event), string(event.Data), string(event.ID))
		}))
		return
	}
	request, err := http.NewRequest(http.MethodGet, url, http.NoBody)
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+key)
	connection := tmaxmax.NewConnection(request)
	connection.SubscribeToAll(func(event tmaxmax.Event) { told(event.Type, event.Data, event.LastEventID) })
	log.Print(connection.Connect())
}

func told(kind, data, id string) {
	_ = json.NewEncoder(os.Stdout).Encode(map[string]string{"type": kind, "data": data, "id": id})
}

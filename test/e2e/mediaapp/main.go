// mediaapp is a media app in small: it calls the Plex Media Server whose address and token its Pod was given, in the
// environment or as files, and serves on :8080 whether that works. "mediaapp call" does so once instead,
// and "mediaapp lookup NAME" prints the addresses of a name as the Pod it runs in resolves it.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// folder is where the Secret is mounted, in Pods that take it as files.
const folder = "/plex"

func main() {
	if len(os.Args) == 3 && os.Args[1] == "lookup" {
		addresses, err := net.LookupHost(os.Args[2])
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(strings.Join(addresses, "\n"))
		return
	}
	client := &http.Client{Timeout: 5 * time.Second}
	if len(os.Args) == 2 && os.Args[1] == "call" {
		if err := call(context.Background(), client); err != nil {
			log.Fatal(err)
		}
		return
	}
	log.Fatal(http.ListenAndServe(":8080", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := call(r.Context(), client); err != nil {
			log.Print(err)
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		log.Printf("reached %s", setting("PLEX_URL"))
	})))
}

// call asks the media server for its libraries, as media apps do.
func call(ctx context.Context, client *http.Client) error {
	address := setting("PLEX_URL") + "/library/sections"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	request.Header.Set("X-Plex-Token", setting("PLEX_TOKEN"))
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", address, response.Status)
	}
	return nil
}

// setting is read each time, because a mounted Secret may change.
func setting(name string) string {
	if value, ok := os.LookupEnv(name); ok {
		return value
	}
	raw, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		log.Fatal(err) // the Pod must not start before its Secret is there
	}
	return strings.TrimSpace(string(raw))
}

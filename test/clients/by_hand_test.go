package clients

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
)

// tokenByHand links a device of alice without a client, for clients that have no PIN login.
func tokenByHand(t *testing.T, clientIdentifier string) string {
	t.Helper()
	var pin struct {
		ID        int
		Code      string
		AuthToken string
	}
	ask := func(method, path string) {
		r, err := http.NewRequestWithContext(t.Context(), method, simulated["plex.tv"]+"/api/v2/pins"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Accept": {"application/json"}, "X-Plex-Client-Identifier": {clientIdentifier}}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if err := json.NewDecoder(response.Body).Decode(&pin); err != nil {
			t.Fatal(err)
		}
	}
	ask("POST", "")
	enter(t, pin.Code)
	ask("GET", fmt.Sprint("/", pin.ID))
	return pin.AuthToken
}

func status(code int) string { return fmt.Sprint(code, " ", http.StatusText(code)) }

package plex

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSensitiveNeverShowsItself(t *testing.T) {
	t.Parallel()
	const secret = "xXxXxxxxXxXxXxXx"
	server := Server{Name: "Home", AccessToken: secret}
	pin := &PIN{ID: secret, Code: "ABCD"}
	device := Device{ClientIdentifier: secret}
	notFound := &ServerNotFoundError{Servers: []Server{server}}
	for _, v := range []any{
		Sensitive(secret), server, pin, device, []Server{server}, notFound, notFound.Servers,
		map[string]Sensitive{"token": secret},
		Outcome{Err: fmt.Errorf("%w: %s", errRefused, Sensitive(secret))},
	} {
		var shown bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&shown, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&shown, nil)).Info("text", "value", v)
		slog.New(slog.NewJSONHandler(&shown, nil)).Info("json", "value", v)
		for _, marshal := range []func(any) ([]byte, error){json.Marshal, xml.Marshal} {
			if b, err := marshal(v); err == nil { // XML has no maps
				shown.Write(b)
			}
		}
		for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret)} {
			if strings.Contains(shown.String(), form) {
				t.Errorf("%T shows the secret:\n%s", v, shown.String())
			}
		}
	}
	if got := Sensitive(secret).Reveal(); got != secret {
		t.Errorf("Reveal() = %q, want %q", got, secret)
	}
}

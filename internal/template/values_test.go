package template

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// linked returns the values of a link to a server with the given name. Every secret has "secret-" in it.
func linked(t testing.TB, serverName string) Values {
	t.Helper()
	v, err := Values{
		Token: "secret-server-token", AccountToken: "secret-account-token", ClientIdentifier: "secret-client-identifier",
		Server:  Server{Name: serverName, MachineIdentifier: "abc123", Version: "1.43.0.1234"},
		Account: Account{Username: "alice", UUID: "0123456789abcdef"},
	}.WithURL("https://plex.example.com/plex")
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestPartsOfTheURL(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"http://192.0.2.1:32400":              "http 192.0.2.1 32400 ",
		"https://plex.example.com":            "https plex.example.com 443 ",
		"http://plex.example.com":             "http plex.example.com 80 ",
		"https://[2001:db8::1]:32400/a%20b":   "https 2001:db8::1 32400 /a%20b",
		"https://media.example.com:8443/plex": "https media.example.com 8443 /plex",
	} {
		before := linked(t, "x")
		v, err := before.WithURL(address)
		if got := strings.Join([]string{v.Scheme, v.Host, v.Port, v.Path}, " "); err != nil || got != want || v.URL != address {
			t.Errorf("%s has the parts %q of %s (%v), want %q", address, got, v.URL, err, want)
		}
		before.URL, before.Scheme, before.Host, before.Port, before.Path = v.URL, v.Scheme, v.Host, v.Port, v.Path
		if diff := cmp.Diff(before, v); diff != "" {
			t.Errorf("%s changed other values: %s", address, diff)
		}
	}
}

func TestURLThatCannotBeParsedIsNotShown(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"https://secret-host:port/", "http://secret-host/%zz", "http://secret\x00host"} {
		if _, err := (Values{}).WithURL(address); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: got the error %v, want one that does not show the URL", address, err)
		}
	}
}

func TestExamplesHaveThePartsOfTheirURL(t *testing.T) {
	t.Parallel()
	for _, v := range examples() {
		want, err := v.WithURL(v.URL)
		if diff := cmp.Diff(want, v); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", v.URL, err, diff)
		}
	}
}

package plex

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// direct returns a local connection as plex.tv lists it with includeHttps=1.
func direct(n int) Connection {
	return Connection{
		Address: fmt.Sprintf("192.168.1.%d", n), Port: 32400, Local: true,
		URI: fmt.Sprintf("https://192-168-1-%d.abc.plex.direct:32400", n),
	}
}

func TestCandidatesAreRankedByLocationThenSchemeThenList(t *testing.T) {
	t.Parallel()
	remote := Connection{
		Address: "203.0.113.7", Port: 32400, URI: "https://203-0-113-7.abc.plex.direct:32400",
	}
	relay := Connection{
		Address: "198.51.100.1", Port: 8443, Relay: true, Local: true,
		URI: "https://198-51-100-1.abc.plex.direct:8443",
	}
	custom := Connection{Address: "plex.example.com", Port: 443, URI: "https://plex.example.com"}
	all := []Connection{relay, remote, direct(1), direct(2)}
	for name, tc := range map[string]struct {
		connections   []Connection
		httpsRequired bool
		locations     []Location
		schemes       []string
		want          []string
	}{
		"local only by default": {connections: all, want: []string{
			"Local https://192-168-1-1.abc.plex.direct:32400", "Local https://192-168-1-2.abc.plex.direct:32400",
			"Local http://192.168.1.1:32400", "Local http://192.168.1.2:32400",
		}},
		"https required": {connections: append(all, Connection{URI: "http://192.168.1.9:32400", Local: true}),
			httpsRequired: true, want: []string{
				"Local https://192-168-1-1.abc.plex.direct:32400", "Local https://192-168-1-2.abc.plex.direct:32400",
			}},
		"http first": {connections: []Connection{direct(1)}, schemes: []string{"http", "https"}, want: []string{
			"Local http://192.168.1.1:32400", "Local https://192-168-1-1.abc.plex.direct:32400",
		}},
		"http only": {connections: []Connection{direct(1)}, schemes: []string{"http"}, want: []string{
			"Local http://192.168.1.1:32400",
		}},
		"location before scheme": {
			connections: all, locations: []Location{Relay, Remote, Local}, schemes: []string{"https", "http"},
			want: []string{
				"Relay https://198-51-100-1.abc.plex.direct:8443", "Relay http://198.51.100.1:8443",
				"Remote https://203-0-113-7.abc.plex.direct:32400", "Remote http://203.0.113.7:32400",
				"Local https://192-168-1-1.abc.plex.direct:32400", "Local https://192-168-1-2.abc.plex.direct:32400",
				"Local http://192.168.1.1:32400", "Local http://192.168.1.2:32400",
			},
		},
		"relay only and not allowed": {connections: []Connection{relay}},
		"nothing advertised":         {},
		"custom URL with the scheme's port": {
			connections: []Connection{custom}, locations: []Location{Remote}, schemes: []string{"https"},
			want: []string{"Remote https://plex.example.com"},
		},
		"custom URL with another port": {
			connections: []Connection{{Address: "plex.example.com", Port: 8443, URI: "https://plex.example.com/plex/"}},
			locations:   []Location{Remote}, schemes: []string{"https"},
			want: []string{"Remote https://plex.example.com/plex", "Remote https://plex.example.com:8443/plex"},
		},
		"IPv6": {connections: []Connection{
			{Address: "fd00::7", Port: 32400, URI: "https://fd00--7.abc.plex.direct:32400", Local: true},
			{Address: "[fd00::8]", Port: 32400, URI: "http://[fd00::8]:32400", Local: true},
		}, want: []string{
			"Local https://fd00--7.abc.plex.direct:32400", "Local http://[fd00::7]:32400", "Local http://[fd00::8]:32400",
		}},
		"duplicates": {connections: []Connection{direct(1), direct(1), {
			Address: "192.168.1.1", Port: 32400, URI: "http://192.168.1.1:32400/", Local: true,
		}}, want: []string{"Local https://192-168-1-1.abc.plex.direct:32400", "Local http://192.168.1.1:32400"}},
		"unusable addresses": {connections: []Connection{
			{Local: true},
			{Local: true, URI: "ftp://192.168.1.1", Address: "192.168.1.1", Port: 70000},
			{Local: true, URI: "https://user:password@192.168.1.1:32400"},
			{Local: true, URI: "https://192.168.1.1:32400/?X-Plex-Token=a"},
			{Local: true, URI: "https://192.168.1.1:32400#f"},
			{Local: true, URI: "https://192.168.1.1:99999"},
			{Local: true, URI: "https://"},
			{Local: true, URI: "javascript:alert(1)"},
			{Local: true, URI: "https://a\"b", Address: "192.168.1.1/path?", Port: 1},
			{Local: true, Address: "fe80::1%eth0", Port: 32400},
			{Local: true, Address: "user@192.168.1.1", Port: 32400},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, c := range Candidates(Server{Connections: tc.connections, HTTPSRequired: tc.httpsRequired},
				Preferences{Locations: tc.locations, Schemes: tc.schemes}) {
				got = append(got, string(c.Location)+" "+c.URL)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAtMost32CandidatesBestFirst(t *testing.T) {
	t.Parallel()
	var s Server
	for i := range 40 {
		s.Connections = append(s.Connections, direct(i))
	}
	got := Candidates(s, Preferences{})
	if len(got) != 32 || got[31].URL != direct(31).URI {
		t.Errorf("got %d candidates, the last %+v; want 32, the last %s", len(got), got[len(got)-1], direct(31).URI)
	}
}

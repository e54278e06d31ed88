package plex

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		connection Connection
		want       []string
	}{
		"behind plex.direct":      {direct(1), []string{"192.168.1.1:32400"}},
		"in the URI":              {custom("http://10.0.0.5:8080/plex", "", 0), []string{"10.0.0.5:8080"}},
		"with the scheme's port":  {custom("http://10.0.0.5", "", 0), []string{"10.0.0.5:80"}},
		"with the https port":     {custom("https://10.0.0.5", "", 0), []string{"10.0.0.5:443"}},
		"with both ports":         {custom("https://10.0.0.5", "10.0.0.5", 32400), []string{"10.0.0.5:443", "10.0.0.5:32400"}},
		"each once":               {custom("https://10.0.0.5:32400", "10.0.0.5", 32400), []string{"10.0.0.5:32400"}},
		"IPv6":                    {custom("http://[FD00:0::7]:1", "fd00::7", 2), []string{"[fd00::7]:1", "[fd00::7]:2"}},
		"IPv6 in brackets":        {custom("", "[fd00::7]", 2), []string{"[fd00::7]:2"}},
		"mapped":                  {custom("http://[::ffff:10.0.0.5]:1", "::ffff:10.0.0.5", 1), []string{"10.0.0.5:1"}},
		"with a zone":             {custom("", "fe80::1%eth0", 1), []string{"[fe80::1]:1"}},
		"without a port":          {custom("", "10.0.0.5", 0), nil},
		"with an impossible port": {custom("", "10.0.0.5", 65537), nil},
		"a name":                  {custom("https://plex.example.com:32400", "plex.example.com", 32400), nil},
		"a relay":                 {relay, nil},
		"nothing":                 {Connection{}, nil},
	} {
		var got []string
		for _, a := range (Server{Connections: []Connection{tc.connection, tc.connection}}).Addresses() {
			got = append(got, a.String())
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

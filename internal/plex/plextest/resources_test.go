package plextest_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"plexlink.dev/operator/internal/plex/plextest"
)

// resources lists an account's devices by name.
func (d device) resources(t *testing.T, sim *plextest.Simulator, query string) map[string]map[string]any {
	t.Helper()
	byName := map[string]map[string]any{}
	for _, r := range d.want(t, http.StatusOK, "GET", sim.URL+"/api/v2/resources"+query).([]any) {
		r := r.(map[string]any)
		byName[r["name"].(string)] = r
	}
	return byName
}

func TestTokensAtServers(t *testing.T) {
	t.Parallel()
	sim, alice, _ := start(t)
	bob := sim.AddAccount("bob")
	owned := sim.AddServer(plextest.Server{Name: "owned", Owner: alice})
	shared := sim.AddServer(plextest.Server{Name: "shared", Owner: bob, SharedWith: []*plextest.Account{alice}})
	foreign := sim.AddServer(plextest.Server{Name: "foreign", Owner: bob})
	d := device{clientIdentifier: "one", token: sim.SignIn(alice, "one")}
	list := d.resources(t, sim, "")

	if _, ok := list["foreign"]; ok {
		t.Error("a server that is not shared is listed")
	}
	if got := list["owned"]["accessToken"]; got != d.token {
		t.Error("the token of an owned server is not the account's")
	}
	sharedToken, _ := list["shared"]["accessToken"].(string)
	if sharedToken == "" || sharedToken == d.token {
		t.Error("the token of a shared server is not its own")
	}
	if again := d.resources(t, sim, "")["shared"]["accessToken"]; again != sharedToken {
		t.Error("the token of a shared server changes from call to call")
	}
	if list["shared"]["sourceTitle"] != "bob" || list["shared"]["owned"] != false || list["owned"]["sourceTitle"] != nil {
		t.Errorf("owners: %v", list)
	}
	sections := func(m *plextest.MediaServer, token string) int {
		status, _ := device{token: token}.do(t, "GET", m.URL+"/library/sections")
		return status
	}
	for name, test := range map[string]struct {
		server *plextest.MediaServer
		token  string
		want   int
	}{
		"account's at owned":     {owned, d.token, 200},
		"account's at shared":    {shared, d.token, 401},
		"account's at foreign":   {foreign, d.token, 401},
		"shared at shared":       {shared, sharedToken, 200},
		"shared at owned":        {owned, sharedToken, 401},
		"another owner's at his": {shared, sim.SignIn(bob, "two"), 200},
		"none":                   {owned, "", 401},
	} {
		if got := sections(test.server, test.token); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
	shared.Update(func(s *plextest.Server) { s.SharedWith = nil })
	if got := sections(shared, sharedToken); got != 401 {
		t.Errorf("after the sharing ended: %d, want 401", got)
	}
	shared.Update(func(s *plextest.Server) { s.SharedWith = []*plextest.Account{alice} })
	sim.RevokeTokens(alice)
	if got := sections(shared, sharedToken); got != 401 {
		t.Errorf("after the account's tokens were revoked: %d, want 401", got)
	}
}

func TestDevicesThatProvideSomethingAreListed(t *testing.T) {
	t.Parallel()
	sim, alice, _ := start(t)
	sim.AddServer(plextest.Server{Name: "server", Owner: alice, HTTPSRequired: true})
	sim.AddDevice(alice, "phone", "client,player,media-server-controller")
	sim.AddDevice(sim.AddAccount("bob"), "bob's phone", "player")
	d := device{clientIdentifier: "one", token: sim.SignIn(alice, "one")} // an app that sends no X-Plex-Provides
	player := device{clientIdentifier: "two"}.mint(t, sim, "?X-Plex-Provides=player&X-Plex-Device-Name=TV")
	if err := sim.Link(player.Code, alice); err != nil {
		t.Fatal(err)
	}
	list := d.resources(t, sim, "")
	if len(list) != 3 || list["TV"]["provides"] != "player" || list["phone"]["accessToken"] != nil || list["phone"]["connections"] == nil {
		t.Errorf("listed: %v", list)
	}
	if list := d.resources(t, sim, "?X-Plex-Provides=controller"); len(list) != 4 {
		t.Errorf("got %d resources, want the app too once it has told what it provides", len(list))
	}
	for _, name := range []string{"natLoopbackSupported", "dnsRebindingProtection"} {
		if _, ok := list["phone"][name]; ok || list["server"][name] != false {
			t.Errorf("got %s for a phone, or none for a server; want it for servers only", name)
		}
	}
}

func TestConnectionsAskedFor(t *testing.T) {
	t.Parallel()
	local := plextest.LocalConnection("http://192.168.1.100:32400")
	custom := plextest.Connection{Protocol: "https", Address: "plex.example.com", Port: 443, URI: "https://plex.example.com"}
	relay := plextest.Connection{Protocol: "https", Address: "1.2.3.4", Port: 8443, URI: "https://1.2.3.4:8443", Relay: true}
	ipv6 := plextest.LocalConnection("http://[fd00::1]:32400")
	all := []plextest.Connection{local, custom, relay, ipv6}
	for name, test := range map[string]struct {
		connections []plextest.Connection
		query       string
		want        []string // URIs, with SERVER and DIRECT for the server's own
	}{
		"explicit ones verbatim": {all, "?includeHttps=1&includeRelay=1&includeIPv6=1", []string{local.URI, custom.URI, relay.URI, ipv6.URI}},
		"no relay, no IPv6":      {all, "?includeHttps=1", []string{local.URI, custom.URI}},
		"none advertised":        {[]plextest.Connection{}, "?includeHttps=1", nil},
		"true address":           {nil, "", []string{"http://SERVER"}},
		"https name":             {nil, "?includeHttps=1", []string{"https://DIRECT"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, alice, _ := start(t)
			m := sim.AddServer(plextest.Server{Name: "server", Owner: alice, Connections: test.connections})
			d := device{clientIdentifier: "one", token: sim.SignIn(alice, "one")}
			var got []string
			port := m.Addr[strings.LastIndex(m.Addr, ":"):]
			for _, c := range d.resources(t, sim, test.query)["server"]["connections"].([]any) {
				uri := c.(map[string]any)["uri"].(string)
				uri = strings.Replace(uri, m.DirectName("127.0.0.1")+port, "DIRECT", 1)
				got = append(got, strings.Replace(uri, m.Addr, "SERVER", 1))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestLocalConnection(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]plextest.Connection{
		"http://10.0.0.1:32400":                             {Protocol: "http", Address: "10.0.0.1", Port: 32400},
		"https://192-168-1-100.0123abcd.plex.direct:32400":  {Protocol: "https", Address: "192.168.1.100", Port: 32400},
		"https://fd00-0-0-0-0-0-0-1.0123.plex.direct:32400": {Protocol: "https", Address: "fd00:0:0:0:0:0:0:1", Port: 32400, IPv6: true},
		"https://plex.example.com":                          {Protocol: "https", Address: "plex.example.com", Port: 443},
	} {
		want.URI, want.Local = uri, true
		if got := plextest.LocalConnection(uri); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

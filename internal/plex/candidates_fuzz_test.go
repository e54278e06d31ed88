package plex

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// checkCandidates fails the test if the candidates of the server break one of their rules.
func checkCandidates(t *testing.T, s Server, p Preferences) {
	t.Helper()
	got, omitted := Candidates(s, p)
	urls := map[string]bool{}
	for i, c := range got {
		u, err := parseBase(c.URL)
		switch {
		case err != nil || u.String() != c.URL:
			t.Fatalf("got the unusable candidate %+v of %+v", c, s)
		case urls[c.URL]:
			t.Errorf("got %s twice", c.URL)
		case i > 0 && (c.Tier < got[i-1].Tier || c.Tier == got[i-1].Tier && (c.Location != got[i-1].Location || c.Pod != got[i-1].Pod)):
			t.Errorf("got %+v after %+v", c, got[i-1])
		case s.HTTPSRequired && u.Scheme == "http":
			t.Errorf("got %s of a server that requires https", c.URL)
		case len(p.Schemes) == 0 && u.Scheme == "http" && (c.Location == Remote || c.Location == Relay):
			t.Errorf("got %+v, want no http to public addresses", c)
		case len(p.Schemes) > 0 && !slices.Contains(p.Schemes, u.Scheme), len(p.Locations) > 0 && !slices.Contains(p.Locations, c.Location):
			t.Errorf("got %+v, want what %+v allows only", c, p)
		case !s.Owned && (c.Location == Cluster || strings.Contains(strings.ToLower(u.Hostname())+".", ".svc.")):
			t.Errorf("got %+v of a shared server, want no Service", c)
		}
		urls[c.URL] = true
	}
	if n := omitted.ByLocation + omitted.ByScheme; n > len(s.Connections) {
		t.Errorf("got %+v omitted of %d connections", omitted, len(s.Connections))
	}
}

func FuzzCandidates(f *testing.F) {
	f.Add("https://10-42-0-7.abc.plex.direct:32400", "10.42.0.7", 32400, uint8(1), "cluster.local", "media", "plex", "10.42.0.7:32400")
	f.Add("http://plex.media.svc.cluster.local", "plex.media.svc", 80, uint8(2), "cluster.local", "media", "plex", "10.42.0.7:32400")
	f.Add("http://PLEX.media.SVC.:80/p/", "[fd00::7]", 0, uint8(0xff), "", "", "", "[fd00::7]:1")
	f.Add("http://..svc", "::ffff:10.0.0.1", 65536, uint8(0x8c), ".", "a.b", "c/d", "")
	f.Fuzz(func(t *testing.T, uri, address string, port int, bits uint8, domain, namespace, name, backend string) {
		bit := func(n int) bool { return bits&(1<<n) != 0 }
		p := Preferences{InUse: uri, Namespace: namespace, ClusterDomain: domain, IsPod: netip.Addr.Is4}
		if b, err := netip.ParseAddrPort(backend); err == nil {
			p.Services = []Service{{Namespace: namespace, Name: name, Port: port, Backends: []netip.AddrPort{b}}}
		}
		if bit(0) {
			p.Locations = []Location{Relay, Cluster, Local, Remote}
		}
		if bit(1) {
			p.Schemes = []string{"http", "https"}
		}
		s := Server{Owned: bit(2), HTTPSRequired: bit(3)}
		s.Connections = []Connection{
			{URI: uri, Address: address, Port: port, Local: bit(4), Relay: bit(5)},
			{URI: address, Address: uri, Port: port, Local: bit(6), Relay: bit(7)},
			{Address: name, Port: port}, direct(1), remote,
		}
		checkCandidates(t, s, p)
		for _, a := range s.Addresses() {
			if !a.IsValid() || a.Addr().Is4In6() || a.Addr().Zone() != "" || a.Port() == 0 {
				t.Errorf("got the address %s", a)
			}
		}
	})
}

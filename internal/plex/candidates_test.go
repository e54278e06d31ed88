package plex

import (
	"fmt"
	"net/netip"
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

// custom returns the connection of a custom access URL, as plex.tv lists it.
func custom(uri, address string, port int) Connection {
	return Connection{Address: address, Port: port, URI: uri}
}

// backends parses addresses with ports.
func backends(all ...string) []netip.AddrPort {
	var parsed []netip.AddrPort
	for _, each := range all {
		parsed = append(parsed, netip.MustParseAddrPort(each))
	}
	return parsed
}

// described returns the candidates as "TIER LOCATION URL", with the location Pod for the local address of one.
func described(candidates []Candidate) []string {
	var all []string
	for _, c := range candidates {
		l := c.Location
		if c.Pod {
			l += "(Pod)"
		}
		all = append(all, fmt.Sprintf("%d %s %s", c.Tier, l, c.URL))
	}
	return all
}

type candidatesCase struct {
	connections   []Connection
	httpsRequired bool
	shared        bool
	preferences   Preferences
	want          []string
	omitted       Omitted
}

func (tc candidatesCase) run(t *testing.T) {
	t.Parallel()
	s := Server{Connections: tc.connections, HTTPSRequired: tc.httpsRequired, Owned: !tc.shared}
	got, omitted := Candidates(s, tc.preferences)
	if diff := cmp.Diff(tc.want, described(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if omitted != tc.omitted {
		t.Errorf("omitted: got %+v, want %+v", omitted, tc.omitted)
	}
	checkCandidates(t, s, tc.preferences)
}

var (
	remote = Connection{Address: "203.0.113.7", Port: 32400, URI: "https://203-0-113-7.abc.plex.direct:32400"}
	relay  = Connection{
		Address: "198.51.100.1", Port: 8443, Relay: true, Local: true, URI: "https://198-51-100-1.abc.plex.direct:8443",
	}
	everything = []Connection{relay, remote, direct(1), direct(2)}
)

func TestCandidatesByLocationAndScheme(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]candidatesCase{
		"local only by default": {connections: everything, omitted: Omitted{ByLocation: 2}, want: []string{
			"0 Local https://192-168-1-1.abc.plex.direct:32400", "0 Local https://192-168-1-2.abc.plex.direct:32400",
			"1 Local http://192.168.1.1:32400", "1 Local http://192.168.1.2:32400",
		}},
		"https required": {connections: append(everything, Connection{URI: "http://192.168.1.9:32400", Local: true}),
			httpsRequired: true, omitted: Omitted{ByLocation: 2}, want: []string{
				"0 Local https://192-168-1-1.abc.plex.direct:32400", "0 Local https://192-168-1-2.abc.plex.direct:32400",
			}},
		"http first": {connections: []Connection{direct(1)}, preferences: Preferences{Schemes: []string{"http", "https"}}, want: []string{
			"0 Local http://192.168.1.1:32400", "1 Local https://192-168-1-1.abc.plex.direct:32400",
		}},
		"http only": {connections: []Connection{direct(1), {URI: "https://192.168.1.2:32400", Local: true}},
			preferences: Preferences{Schemes: []string{"http"}}, want: []string{"0 Local http://192.168.1.1:32400"},
			omitted: Omitted{ByScheme: 1}},
		"https only": {connections: []Connection{direct(1), {URI: "http://192.168.1.2:32400", Local: true}},
			preferences: Preferences{Schemes: []string{"https"}}, want: []string{"0 Local https://192-168-1-1.abc.plex.direct:32400"},
			omitted: Omitted{ByScheme: 1}},
		"location before scheme": {
			connections: everything,
			preferences: Preferences{Locations: []Location{Relay, Remote, Local}, Schemes: []string{"https", "http"}},
			want: []string{
				"0 Relay https://198-51-100-1.abc.plex.direct:8443", "1 Relay http://198.51.100.1:8443",
				"2 Remote https://203-0-113-7.abc.plex.direct:32400", "3 Remote http://203.0.113.7:32400",
				"4 Local https://192-168-1-1.abc.plex.direct:32400", "4 Local https://192-168-1-2.abc.plex.direct:32400",
				"5 Local http://192.168.1.1:32400", "5 Local http://192.168.1.2:32400",
			},
		},
		"http to a public address only where it is named": {
			connections: append(everything, Connection{URI: "http://198.51.100.9:32400", Address: "198.51.100.9", Port: 32400}),
			preferences: Preferences{Locations: []Location{Relay, Remote}}, omitted: Omitted{ByLocation: 2, ByScheme: 1}, want: []string{
				"0 Relay https://198-51-100-1.abc.plex.direct:8443", "1 Remote https://203-0-113-7.abc.plex.direct:32400",
			},
		},
		"local http to a name":         {connections: []Connection{{URI: "http://plex.lan:32400", Local: true}}, want: []string{"0 Local http://plex.lan:32400"}},
		"relay only and not allowed":   {connections: []Connection{relay}, omitted: Omitted{ByLocation: 1}},
		"https required and http only": {connections: []Connection{{URI: "http://192.168.1.9:32400", Local: true}}, httpsRequired: true},
		"nothing advertised":           {},
		"custom URL with the scheme's port": {
			connections: []Connection{custom("https://plex.example.com", "plex.example.com", 443)},
			preferences: Preferences{Locations: []Location{Remote}}, want: []string{"0 Remote https://plex.example.com"},
		},
		"custom URL with another port": {
			connections: []Connection{custom("https://plex.example.com/plex/", "plex.example.com", 8443)},
			preferences: Preferences{Locations: []Location{Remote}},
			want:        []string{"0 Remote https://plex.example.com/plex", "0 Remote https://plex.example.com:8443/plex"},
		},
		"the one in use stays among equals": {
			connections: []Connection{direct(1), direct(2), direct(3)},
			preferences: Preferences{InUse: "http://192.168.1.2:32400"}, want: []string{
				"0 Local https://192-168-1-1.abc.plex.direct:32400", "0 Local https://192-168-1-2.abc.plex.direct:32400",
				"0 Local https://192-168-1-3.abc.plex.direct:32400",
				"1 Local http://192.168.1.2:32400", "1 Local http://192.168.1.1:32400", "1 Local http://192.168.1.3:32400",
			},
		},
		"duplicates": {connections: []Connection{direct(1), direct(1), {
			Address: "192.168.1.1", Port: 32400, URI: "http://192.168.1.1:32400/", Local: true,
		}}, want: []string{"0 Local https://192-168-1-1.abc.plex.direct:32400", "1 Local http://192.168.1.1:32400"}},
		"the better of duplicates": {
			connections: []Connection{custom("https://plex.example.com", "", 0), {URI: "https://plex.example.com", Local: true}},
			preferences: Preferences{Locations: []Location{Local, Remote}}, want: []string{"0 Local https://plex.example.com"},
		},
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
		t.Run(name, tc.run)
	}
}

func TestLocationOfALiteralAddress(t *testing.T) {
	t.Parallel()
	all := Preferences{Locations: []Location{Local, Remote, Relay}, Schemes: []string{"https", "http"}}
	for name, tc := range map[string]candidatesCase{
		"private custom URL": {connections: []Connection{
			custom("http://10.0.0.5:32400", "10.0.0.5", 32400), custom("http://172.31.0.5:32400", "172.31.0.5", 32400),
			custom("http://192.168.9.9:32400", "192.168.9.9", 32400), custom("http://172.32.0.5:32400", "172.32.0.5", 32400),
		}, omitted: Omitted{ByLocation: 1}, want: []string{
			"0 Local http://10.0.0.5:32400", "0 Local http://172.31.0.5:32400", "0 Local http://192.168.9.9:32400",
		}},
		"private behind plex.direct": {
			connections: []Connection{custom("https://10-0-0-5.abc.plex.direct:32400", "10.0.0.5", 32400)},
			want:        []string{"0 Local https://10-0-0-5.abc.plex.direct:32400", "1 Local http://10.0.0.5:32400"},
		},
		"private without a URI": {connections: []Connection{custom("", "10.0.0.5", 32400)}, want: []string{"0 Local http://10.0.0.5:32400"}},
		"the URI's own literal counts": {
			connections: []Connection{custom("https://203.0.113.7:32400", "10.0.0.5", 32400)},
			preferences: all, want: []string{"0 Local http://10.0.0.5:32400", "1 Remote https://203.0.113.7:32400"},
		},
		"private relay": {connections: []Connection{{URI: "https://10.0.0.5:8443", Address: "10.0.0.5", Port: 8443, Relay: true}},
			omitted: Omitted{ByLocation: 1}},
		"public and local": {connections: []Connection{
			{URI: "https://2001-db8--7.abc.plex.direct:32400", Address: "2001:db8::7", Port: 32400, Local: true},
			{URI: "http://[2001:db8::8]:32400", Address: "2001:db8::8", Port: 32400, Local: true},
			{URI: "http://nat.lan:32400", Address: "100.64.0.7", Port: 32400, Local: true},
		}, omitted: Omitted{ByScheme: 2}, want: []string{"0 Local https://2001-db8--7.abc.plex.direct:32400"}},
		"public and local with http named": {connections: []Connection{{URI: "http://[2001:db8::8]:32400", Local: true}},
			preferences: all, want: []string{"0 Local http://[2001:db8::8]:32400"}},
		"IPv6": {connections: []Connection{
			{Address: "fd00::7", Port: 32400, URI: "https://fd00--7.abc.plex.direct:32400", Local: true},
			{Address: "[fd00::8]", Port: 32400, URI: "http://[fd00::8]:32400", Local: true},
			custom("http://[FD00::9]:32400", "fd00::9", 32400),
			custom("http://[fd00:0:0::a]", "", 32400),
			custom("", "::ffff:10.0.0.5", 32400),
			custom("http://[::ffff:203.0.113.7]:32400", "", 0),
			{Address: "fe80::1", URI: "http://[fe80::1%25eth0]:32400", Local: true},
		}, omitted: Omitted{ByLocation: 1}, want: []string{
			"0 Local https://fd00--7.abc.plex.direct:32400", "1 Local http://[fd00::7]:32400", "1 Local http://[fd00::8]:32400",
			"1 Local http://[FD00::9]:32400", "1 Local http://[fd00::9]:32400", "1 Local http://[fd00:0:0::a]",
			"1 Local http://[fd00:0:0::a]:32400", "1 Local http://[::ffff:10.0.0.5]:32400",
		}},
		"Pods come last": {
			connections: []Connection{
				{URI: "https://10-42-0-7.abc.plex.direct:32400", Address: "10.42.0.7", Port: 32400, Local: true},
				custom("", "::ffff:10.42.0.8", 32400), direct(1), remote,
			},
			preferences: Preferences{
				Locations: []Location{Local, Remote}, InUse: "https://10-42-0-7.abc.plex.direct:32400",
				IsPod: netip.MustParsePrefix("10.42.0.0/16").Contains,
			},
			want: []string{
				"0 Local https://192-168-1-1.abc.plex.direct:32400", "1 Local http://192.168.1.1:32400",
				"2 Local(Pod) https://10-42-0-7.abc.plex.direct:32400",
				"3 Local(Pod) http://10.42.0.7:32400", "3 Local(Pod) http://[::ffff:10.42.0.8]:32400",
				"4 Remote https://203-0-113-7.abc.plex.direct:32400",
			},
		},
	} {
		t.Run(name, tc.run)
	}
}

func TestServicesOfTheCluster(t *testing.T) {
	t.Parallel()
	pod := Connection{URI: "https://10-42-0-7.abc.plex.direct:32400", Address: "10.42.0.7", Port: 32400, Local: true}
	advertised := custom("http://plex.media.svc.cluster.local:32400", "plex.media.svc.cluster.local", 32400)
	service := func(namespace, name string, all ...string) Service {
		return Service{Namespace: namespace, Name: name, Port: 80, Backends: backends(all...)}
	}
	here := func(services ...Service) Preferences {
		return Preferences{Locations: []Location{Cluster}, Namespace: "media", ClusterDomain: "cluster.local", Services: services}
	}
	all := func(p Preferences) Preferences {
		p.Locations = []Location{Remote, Relay, Local, Cluster}
		p.Schemes = []string{"https", "http"}
		return p
	}
	one := Omitted{ByLocation: 1}
	for name, tc := range map[string]candidatesCase{
		"advertised names": {
			connections: []Connection{
				custom("http://plex.tv-room.svc:32400", "plex.tv-room.svc", 32400), advertised,
				custom("https://PLEX.Media.SVC.Cluster.Local.:32400/plex", "", 0), custom("http://plex.media.svc", "", 0),
			},
			preferences: here(), want: []string{
				"0 Cluster https://PLEX.Media.SVC.Cluster.Local.:32400/plex", "1 Cluster http://plex.media.svc.cluster.local:32400",
				"1 Cluster http://plex.media.svc", "2 Cluster http://plex.tv-room.svc:32400",
			},
		},
		"names that are no Services": {
			connections: []Connection{
				custom("http://media.svc:32400", "", 0), custom("http://plex-0.plex.media.svc:32400", "", 0),
				custom("http://plex.media.svc.cluster.example:32400", "", 0), custom("http://plex.media.svc.local:32400", "", 0),
				custom("http://plex.media.svcs:32400", "", 0), custom("http://..svc:32400", "", 0),
			},
			preferences: here(), omitted: Omitted{ByLocation: 6},
		},
		"unknown cluster domain": {
			connections: []Connection{advertised, custom("http://plex.media.svc:32400", "", 0), pod},
			preferences: Preferences{Services: []Service{service("media", "plex", "10.42.0.7:32400")}, Locations: []Location{Cluster}},
			want:        []string{"0 Cluster http://plex.media.svc:32400"}, omitted: Omitted{ByLocation: 2},
		},
		"a name is no Service whatever its address": {
			connections: []Connection{custom("http://plex.media.svc:32400", "10.42.0.7", 32400)},
			preferences: all(here()), want: []string{"0 Local http://10.42.0.7:32400", "1 Cluster http://plex.media.svc:32400"},
		},
		"every backend is advertised": {
			connections: []Connection{pod}, preferences: here(service("media", "plex", "10.42.0.7:32400", "[::ffff:10.42.0.7]:32400")),
			want: []string{"0 Cluster http://plex.media.svc.cluster.local:80"}, omitted: one,
		},
		"one strange backend": {
			connections: []Connection{pod}, preferences: here(service("media", "plex", "10.42.0.7:32400", "10.42.0.8:32400")), omitted: one,
		},
		"another port": {connections: []Connection{pod}, preferences: here(service("media", "plex", "10.42.0.7:8080")), omitted: one},
		"no backend":   {connections: []Connection{pod}, preferences: here(service("media", "plex")), omitted: one},
		"several Services": {
			connections: []Connection{advertised, pod},
			preferences: here(
				service("zoo", "a", "10.42.0.7:32400"), service("media", "tautulli", "10.42.0.9:32400"), service("media", "z", "10.42.0.7:32400"),
				service("attic", "b", "10.42.0.7:32400"), service("attic", "a", "10.42.0.7:32400"), service("media", "plex", "10.42.0.7:32400"),
			),
			omitted: one, want: []string{
				"0 Cluster http://plex.media.svc.cluster.local:32400", "0 Cluster http://plex.media.svc.cluster.local:80",
				"0 Cluster http://z.media.svc.cluster.local:80", "1 Cluster http://a.attic.svc.cluster.local:80",
				"1 Cluster http://b.attic.svc.cluster.local:80", "1 Cluster http://a.zoo.svc.cluster.local:80",
			},
		},
		"IPv6 backend": {
			connections: []Connection{{URI: "https://fd00-42--7.abc.plex.direct:32400", Address: "fd00:42::7", Port: 32400, Local: true}},
			preferences: here(service("media", "plex", "[fd00:42::7]:32400")),
			want:        []string{"0 Cluster http://plex.media.svc.cluster.local:80"}, omitted: one,
		},
		"https required":     {connections: []Connection{pod, advertised}, httpsRequired: true, preferences: here(service("media", "plex", "10.42.0.7:32400")), omitted: one},
		"https only":         {connections: []Connection{pod, advertised}, preferences: Preferences{Schemes: []string{"https"}, ClusterDomain: "cluster.local", Services: []Service{service("media", "plex", "10.42.0.7:32400")}}, want: []string{"0 Local https://10-42-0-7.abc.plex.direct:32400"}, omitted: Omitted{ByScheme: 1}},
		"Cluster not wanted": {connections: []Connection{advertised, pod}, preferences: Preferences{Locations: []Location{Remote}, ClusterDomain: "cluster.local", Services: []Service{service("media", "plex", "10.42.0.7:32400")}}, omitted: Omitted{ByLocation: 2}},
		"Cluster and Local by default": {
			connections: []Connection{pod, advertised, direct(1), remote},
			preferences: Preferences{ClusterDomain: "cluster.local", IsPod: func(ip netip.Addr) bool { return ip.String() == "10.42.0.7" }},
			omitted:     one, want: []string{
				"0 Cluster http://plex.media.svc.cluster.local:32400", "1 Local https://192-168-1-1.abc.plex.direct:32400",
				"2 Local http://192.168.1.1:32400", "3 Local(Pod) https://10-42-0-7.abc.plex.direct:32400", "4 Local(Pod) http://10.42.0.7:32400",
			},
		},
		"a friend's server names no Service": {
			shared: true, connections: []Connection{
				advertised, custom("http://plex.media.svc:32400", "plex.media.svc", 32400), custom("https://plex.media.SVC.", "", 0),
				custom("http://plex-0.plex.media.svc.cluster.local:32400", "", 0), custom("http://plex.media.svc.other.example", "", 0),
				{URI: "http://plex.media.svc:1", Local: true}, {URI: "http://plex.media.svc:2", Relay: true},
				{Address: "plex.media.svc", Port: 3}, custom("http://plex:32400", "plex", 32400), pod,
			},
			preferences: all(here(service("media", "plex", "10.42.0.7:32400"))),
			want:        []string{"0 Local https://10-42-0-7.abc.plex.direct:32400", "1 Local http://10.42.0.7:32400"},
		},
	} {
		t.Run(name, tc.run)
	}
}

func TestAllCandidatesAreListed(t *testing.T) {
	t.Parallel()
	var s Server
	for i := range 200 {
		s.Connections = append(s.Connections, direct(i))
	}
	got, omitted := Candidates(s, Preferences{})
	if len(got) != 400 || got[399].URL != "http://192.168.1.199:32400" || got[399].Tier != 1 || omitted != (Omitted{}) {
		t.Errorf("got %d candidates, the last %+v; want 400, the last http://192.168.1.199:32400", len(got), got[len(got)-1])
	}
}

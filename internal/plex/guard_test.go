package plex

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestDeniedAddresses(t *testing.T) {
	t.Parallel()
	deny := append([]netip.Prefix{netip.MustParsePrefix("::ffff:198.51.100.0/120")}, DefaultDeny...)
	control := denying(deny)
	for address, denied := range map[string]bool{
		"127.0.0.1:80": true, "127.255.0.9:80": true, "[::1]:80": true, "[::ffff:127.0.0.1]:80": true,
		"169.254.169.254:80": true, "[fe80::1%eth0]:80": true, "[::ffff:169.254.169.254]:80": true,
		"[fd00:ec2::254]:80": true, "224.0.0.1:80": true, "[ff02::1]:80": true, "0.0.0.0:80": true, "[::]:80": true,
		"255.255.255.255:80": true, "[64:ff9b::a9fe:a9fe]:80": true, "[2002:7f00:1::]:80": true, "[::7f00:1]:80": true,
		"198.51.100.7:80": true, "unreadable": true, "": true,
		"192.168.1.100:32400": false, "10.0.0.1:32400": false, "172.17.0.1:32400": false, "[fd00::7]:32400": false,
		"203.0.113.7:32400": false, "[2001:db8::1]:32400": false, "[64:ff9b::c0a8:101]:80": false,
		"[2002:c0a8:101::1]:80": false,
	} {
		if err := control(t.Context(), "tcp", address, nil); errors.Is(err, errDenied) != denied {
			t.Errorf("%s: %v, want denied: %t", address, err, denied)
		}
	}
	if err := denying(nil)(t.Context(), "tcp", "127.0.0.1:80", nil); err != nil {
		t.Errorf("without denied networks: got %v, want no error", err)
	}
}

// The name resolves to another address first, so that a check of the name before the request would pass.
func TestGuardSeesTheAddressAfterNameResolution(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	defer inside.Close()
	_, port, err := net.SplitHostPort(inside.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	resolver := rebindingDNS(t, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("127.0.0.1"))
	if before, err := resolver.LookupNetIP(t.Context(), "ip4", "plex.example.com"); err != nil || before[0].IsLoopback() {
		t.Fatalf("the first look-up: got %v, %v, want no loopback address", before, err)
	}
	dial := func(deny []netip.Prefix) http.RoundTripper {
		return NewTransport(TransportOptions{
			DialContext: (&net.Dialer{Resolver: resolver, ControlContext: denying(deny)}).DialContext,
		})
	}
	candidates := []Candidate{{URL: "http://plex.example.com:" + port}}
	guarded := Prober{Transport: dial(DefaultDeny), timeout: 5 * time.Second}
	got := guarded.Prove(t.Context(), Device{}, Server{MachineIdentifier: "m"}, candidates).Outcomes[0]
	if got.Verdict != Unreachable || !errors.Is(got.Err, errDenied) || requests.Load() != 0 {
		t.Errorf("got %s, %v, %d requests; want %s, %v, none", got.Verdict, got.Err, requests.Load(), Unreachable, errDenied)
	}
	open := Prober{Transport: dial(nil)}
	open.Prove(t.Context(), Device{}, Server{MachineIdentifier: "m"}, candidates)
	if requests.Load() != 1 {
		t.Errorf("without the guard: got %d requests, want 1, or the test proves nothing", requests.Load())
	}
}

func TestNewTransportAndTheZeroProberAreGuarded(t *testing.T) {
	t.Parallel()
	inside := httptest.NewServer(http.NotFoundHandler())
	defer inside.Close()
	for _, url := range []string{inside.URL, strings.Replace(inside.URL, "127.0.0.1", "localhost", 1)} {
		for name, p := range map[string]*Prober{
			"zero":         {},
			"NewTransport": {Transport: NewTransport(TransportOptions{Deny: DefaultDeny})},
		} {
			got := p.Prove(t.Context(), Device{}, Server{MachineIdentifier: "m"}, []Candidate{{URL: url}}).Outcomes[0]
			if got.Verdict != Unreachable || !errors.Is(got.Err, errDenied) {
				t.Errorf("%s at %s: got %s, %v; want %s, %v", name, url, got.Verdict, got.Err, Unreachable, errDenied)
			}
		}
	}
}

// rebindingDNS returns a resolver that answers the first query for an IPv4 address with first and all later ones with then.
func rebindingDNS(t *testing.T, first, then netip.Addr) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	go func() {
		answer := first
		for packet := make([]byte, 512); ; {
			n, client, err := server.ReadFrom(packet)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(packet[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.Authoritative, m.Additionals = true, true, nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
					Body:   &dnsmessage.AResource{A: answer.As4()},
				}}
				answer = then
			}
			if reply, err := m.Pack(); err == nil {
				_, _ = server.WriteTo(reply, client)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

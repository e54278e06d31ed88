package plex

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plexlink.dev/operator/internal/plex/plextest"
)

// home is an account with one device, and a LAN with its servers.
type home struct {
	sim    *plextest.Simulator
	owner  *plextest.Account
	lan    plextest.Network
	client *Client
	device Device
	token  Sensitive
	prober Prober
	dials  atomic.Int32 // those that have not ended
}

const testTimeout = 800 * time.Millisecond

func newHome(t *testing.T) *home {
	t.Helper()
	h := &home{sim: plextest.New(plextest.Options{}), device: Device{
		ClientIdentifier: "3f1c6f0e-device", Product: "PlexLink", Version: "0.1.0", Name: "kometa (media)",
	}}
	t.Cleanup(h.sim.Close)
	h.owner = h.sim.AddAccount("alice")
	h.lan.Listeners, h.lan.Hosts = map[string]string{}, map[string]string{}
	var err error
	if h.client, err = NewClient(Options{BaseURL: h.sim.URL + "/"}); err != nil {
		t.Fatal(err)
	}
	transport := NewTransport(TransportOptions{RootCAs: h.sim.CertPool(),
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			h.dials.Add(1)
			defer h.dials.Add(-1)
			return h.lan.DialContext(ctx, network, addr)
		}})
	t.Cleanup(transport.CloseIdleConnections)
	h.prober = Prober{Transport: transport, timeout: testTimeout, libraryTimeout: 2 * testTimeout}
	return h
}

// link links the device to the account.
func (h *home) link(t *testing.T, a *plextest.Account) {
	t.Helper()
	pin, err := h.client.CreatePIN(t.Context(), h.device)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.sim.Link(pin.Code, a); err != nil {
		t.Fatal(err)
	}
	if h.token, err = h.client.CheckPIN(t.Context(), h.device, pin.ID); err != nil || h.token == "" {
		t.Fatalf("token after linking: got %t, %v, want one", h.token != "", err)
	}
}

// prove links the device, lists the servers and proves the first one. It also returns how long the proof took.
func (h *home) prove(t *testing.T, p Preferences) (Proof, time.Duration) {
	t.Helper()
	h.link(t, h.owner)
	list, err := h.client.Resources(t.Context(), h.device, h.token)
	if err != nil {
		t.Fatal(err)
	}
	candidates, _ := Candidates(list.Servers[0], p)
	start := time.Now()
	proof := h.prober.Prove(t.Context(), h.device, list.Servers[0], candidates)
	took := time.Since(start)
	for deadline := time.Now().Add(5 * time.Second); h.dials.Load() > 0; {
		if time.Now().After(deadline) {
			t.Fatalf("got %d dials that have not ended, want none", h.dials.Load())
		}
		time.Sleep(time.Millisecond)
	}
	return proof, took
}

// verdicts returns the candidates with their verdicts, for a diff.
func verdicts(p Proof) []string {
	var all []string
	for _, o := range p.Outcomes {
		all = append(all, o.Candidate.URL+" "+string(o.Verdict))
	}
	return all
}

// tokenWasSentTo returns the servers that received a token. It fails the test if a token or a client identifier was sent
// anywhere but in the headers of a request for the library.
func (h *home) tokenWasSentTo(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, r := range h.sim.Requests() {
		if r.Server == "plex.tv" {
			continue
		}
		if strings.Contains(r.URL, "?") || (r.Endpoint != plextest.Sections && (r.Token != "" || r.ClientIdentifier != "")) {
			t.Errorf("%s %s received a secret, want none", r.Server, r.Endpoint)
		}
		if r.Token != "" {
			names = append(names, r.Server)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func TestWorseCandidatesAreNotAwaitedAndGetNoToken(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	m := h.sim.AddServer(plextest.Server{Name: "Home", Owner: h.owner})
	m.SetConnections(plextest.LocalConnection("http://192.168.1.100:32400"),
		plextest.LocalConnection("http://192.168.1.101:32400"), plextest.LocalConnection("http://10.0.0.1:32400"))
	h.lan.Listeners["192.168.1.100:32400"] = m.Addr
	h.lan.Listeners["192.168.1.101:32400"] = m.Addr

	proof, took := h.prove(t, Preferences{})
	if proof.Chosen == nil || proof.Chosen.URL != "http://192.168.1.100:32400" || took > testTimeout {
		t.Errorf("got %+v after %s, want the first candidate within %s", proof.Chosen, took, testTimeout)
	}
	want := []string{
		"http://192.168.1.100:32400 proven", "http://192.168.1.101:32400 not awaited",
		"http://10.0.0.1:32400 not awaited",
	}
	if diff := cmp.Diff(want, verdicts(proof)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	sent := slices.DeleteFunc(h.sim.Requests(), func(r plextest.Request) bool { return r.Endpoint != plextest.Sections })
	if len(sent) != 2 || sent[0].Token != h.token.Reveal() || sent[1].Token != "" {
		t.Errorf("got %d requests for the library, want one with the token and one without it", len(sent))
	}
}

// The candidates are a container bridge without an answer, an overlay address of another machine, a plex.direct name
// behind DNS-rebinding protection, and the right address.
func TestNoTokenGoesToAnUnprovenAddress(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	m := h.sim.AddServer(plextest.Server{Name: "Home", Owner: h.owner})
	other := h.sim.AddServer(plextest.Server{Name: "Other"})
	m.SetConnections(
		plextest.LocalConnection("http://172.17.0.1:32400"), plextest.LocalConnection("http://10.42.0.1:32400"),
		plextest.LocalConnection("https://"+m.DirectName("192.168.1.100")+":32400"))
	h.lan.Listeners["10.42.0.1:32400"] = other.Addr
	h.lan.Listeners["192.168.1.100:32400"] = m.Addr
	h.prober.timeout = 0 // the product's 3 s

	proof, took := h.prove(t, Preferences{})
	want := []string{
		"https://" + m.DirectName("192.168.1.100") + ":32400 unreachable", "http://172.17.0.1:32400 unreachable",
		"http://10.42.0.1:32400 is another server", "http://192.168.1.100:32400 proven",
	}
	if diff := cmp.Diff(want, verdicts(proof)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if proof.Chosen == nil || took > 4*time.Second {
		t.Errorf("got %+v after %s, want one within 4 s", proof.Chosen, took)
	}
	if got := h.tokenWasSentTo(t); !slices.Equal(got, []string{"Home"}) {
		t.Errorf("the token was sent to %q, want Home only", got)
	}
}

func TestHTTPSIsProvenBeforeHTTP(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	m := h.sim.AddServer(plextest.Server{Name: "Home", Owner: h.owner, PathPrefix: "/plex"})
	name := m.DirectName("fd00::7")
	m.SetConnections(plextest.Connection{Address: "fd00::7", Port: 32400, URI: "http://[fd00::7]:32400/plex/", Local: true, IPv6: true},
		plextest.Connection{Address: "fd00::7", Port: 32400, URI: "https://" + name + ":32400/plex", Local: true, IPv6: true})
	h.lan.Listeners["[fd00::7]:32400"] = m.Addr
	h.lan.Hosts[name] = "fd00::7"

	proof, _ := h.prove(t, Preferences{})
	if proof.Chosen == nil || proof.Chosen.URL != "https://"+name+":32400/plex" {
		t.Errorf("got %+v, %q; want the https candidate", proof.Chosen, verdicts(proof))
	}
	proof, _ = h.prove(t, Preferences{Schemes: []string{"http"}})
	if proof.Chosen == nil || proof.Chosen.URL != "http://[fd00::7]:32400/plex" {
		t.Errorf("with http only: got %+v, %q; want the http candidate", proof.Chosen, verdicts(proof))
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		server plextest.Server
		faults []plextest.Fault
		want   Verdict
	}{
		"good":                       {want: Proven},
		"identity as XML":            {faults: []plextest.Fault{{Endpoint: plextest.Identity, Body: `<MediaContainer machineIdentifier="m-home"/>`}}, want: Proven},
		"a liar":                     {server: plextest.Server{ClaimedMachineIdentifier: "m-other"}, want: NotThisServer},
		"a router's page":            {faults: []plextest.Fault{{Endpoint: plextest.Identity, Body: "<html>router</html>"}}, want: NotThisServer},
		"some web server":            {faults: []plextest.Fault{{Endpoint: plextest.Identity, Status: 404}}, want: NotThisServer},
		"hangs":                      {server: plextest.Server{Hangs: true}, want: Unreachable},
		"slow":                       {server: plextest.Server{Delay: 2 * testTimeout}, want: Unreachable},
		"https required":             {server: plextest.Server{HTTPSRequired: true}, want: Unreachable},
		"starting up":                {faults: []plextest.Fault{{Endpoint: plextest.Identity, Status: 503}}, want: Unreachable},
		"identity is a redirect":     {faults: []plextest.Fault{{Endpoint: plextest.Identity, RedirectTo: "http://10.42.0.1:32400/identity"}}, want: Unreachable},
		"identity is dropped":        {faults: []plextest.Fault{{Endpoint: plextest.Identity, Drop: true}}, want: Unreachable},
		"identity is huge":           {faults: []plextest.Fault{{Endpoint: plextest.Identity, HugeBody: 1 << 30}}, want: Unreachable},
		"identity drips":             {faults: []plextest.Fault{{Endpoint: plextest.Identity, SlowBody: testTimeout / 10}}, want: Unreachable},
		"token refused":              {faults: []plextest.Fault{{Endpoint: plextest.Sections, Status: 401}}, want: TokenRefused},
		"library fails":              {faults: []plextest.Fault{{Endpoint: plextest.Sections, Status: 500}}, want: Unreachable},
		"library hangs":              {faults: []plextest.Fault{{Endpoint: plextest.Sections, Delay: 4 * testTimeout}}, want: Unreachable},
		"library redirects":          {faults: []plextest.Fault{{Endpoint: plextest.Sections, RedirectTo: "http://10.42.0.1:32400/library/sections"}}, want: Unreachable},
		"library throttles":          {faults: []plextest.Fault{{Endpoint: plextest.Sections, Status: 429}}, want: Unreachable},
		"the library is an HTML 400": {faults: []plextest.Fault{{Endpoint: plextest.Sections, Status: 400}}, want: Unreachable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t)
			tc.server.Name, tc.server.MachineIdentifier, tc.server.Owner = "Home", "m-home", h.owner
			m := h.sim.AddServer(tc.server)
			thief := h.sim.AddServer(plextest.Server{Name: "Thief", MachineIdentifier: "m-home"})
			h.lan.Listeners["10.42.0.1:32400"] = thief.Addr
			for _, f := range tc.faults {
				f.Server = "Home"
				h.sim.Fault(f)
			}
			h.link(t, h.owner)
			s := Server{MachineIdentifier: "m-home", AccessToken: h.token}
			proof := h.prober.Prove(t.Context(), h.device, s, []Candidate{{URL: m.URL}})
			if got := proof.Outcomes[0]; got.Verdict != tc.want || (got.Verdict == Proven) != (got.Err == nil) {
				t.Errorf("got %s (%v), want %s", got.Verdict, got.Err, tc.want)
			}
			if slices.Contains(h.tokenWasSentTo(t), "Thief") {
				t.Error("the token was sent to the target of a redirect")
			}
		})
	}
}

func TestSharedServerAcceptsOnlyItsOwnToken(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	friend := h.sim.AddAccount("bob")
	m := h.sim.AddServer(plextest.Server{Name: "Home", Owner: h.owner, SharedWith: []*plextest.Account{friend}})
	h.link(t, friend)
	list, err := h.client.Resources(t.Context(), h.device, h.token)
	servers := list.Servers
	if err != nil || len(servers) != 1 || servers[0].Owned || servers[0].AccessToken == h.token || servers[0].Owner != "alice" {
		t.Fatalf("got %+v, %v; want one server, shared by alice, with a token of its own", servers, err)
	}
	at := []Candidate{{URL: m.URL}}
	if got := h.prober.Prove(t.Context(), h.device, servers[0], at).Outcomes[0]; got.Verdict != Proven {
		t.Errorf("with its own token: got %s, %v; want %s", got.Verdict, got.Err, Proven)
	}
	for _, token := range []Sensitive{h.token, ""} {
		servers[0].AccessToken = token
		if got := h.prober.Prove(t.Context(), h.device, servers[0], at).Outcomes[0]; got.Verdict != TokenRefused {
			t.Errorf("with another token: got %s, %v; want %s", got.Verdict, got.Err, TokenRefused)
		}
	}
}

func TestProveEndsWithItsContext(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	ctx, cancel := context.WithCancel(t.Context())
	h.prober.timeout = time.Minute
	time.AfterFunc(20*time.Millisecond, cancel)
	proof := h.prober.Prove(ctx, h.device, Server{MachineIdentifier: "m"}, []Candidate{{URL: "http://10.0.0.1:32400"}})
	if got := proof.Outcomes[0]; got.Verdict != NotAwaited || !errors.Is(got.Err, context.Canceled) {
		t.Errorf("got %s, %v; want %s, %v", got.Verdict, got.Err, NotAwaited, context.Canceled)
	}
	if none := h.prober.Prove(ctx, h.device, Server{}, nil); none.Chosen != nil || none.Outcomes != nil {
		t.Errorf("without candidates: got %+v, want the zero value", none)
	}
}

func TestServerWithoutIdentifierIsNeverProven(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	m := h.sim.AddServer(plextest.Server{Name: "Home", Owner: h.owner})
	h.sim.Fault(plextest.Fault{Endpoint: plextest.Identity, Body: `{"MediaContainer":{"version":"1"}}`})
	got := h.prober.Prove(t.Context(), h.device, Server{AccessToken: "xXxX"}, []Candidate{{URL: m.URL}})
	if got.Chosen != nil || len(h.tokenWasSentTo(t)) > 0 {
		t.Errorf("got %q, want it unproven and no token sent", verdicts(got))
	}
}

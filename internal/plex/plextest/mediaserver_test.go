package plextest_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/xml"
	"errors"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"plexlink.dev/operator/internal/plex/plextest"
)

func identity(t *testing.T, body any) string {
	t.Helper()
	return body.(map[string]any)["MediaContainer"].(map[string]any)["machineIdentifier"].(string)
}

func TestIdentityNeedsNoToken(t *testing.T) {
	t.Parallel()
	sim, alice, _ := start(t)
	m := sim.AddServer(plextest.Server{Name: "server", Owner: alice, MachineIdentifier: "machine", Version: "1.2.3"})
	if got := identity(t, device{}.want(t, http.StatusOK, "GET", m.URL+"/identity")); got != "machine" {
		t.Errorf("machineIdentifier %q", got)
	}
	_, body := device{xml: true}.do(t, "GET", m.URL+"/identity")
	want := xml.Header + `<MediaContainer size="0" claimed="1" version="1.2.3" machineIdentifier="machine"/>`
	if body != want {
		t.Errorf("got %s, want %s", body, want)
	}
	m.Update(func(s *plextest.Server) { s.ClaimedMachineIdentifier = "lie" })
	if got := identity(t, device{}.want(t, http.StatusOK, "GET", m.URL+"/identity")); got != "lie" {
		t.Errorf("machineIdentifier %q, want the lie", got)
	}
}

// plex-api compares the whole Content-Type with application/json, and @ctrl/plex asks for /library first.
func TestFormsAndPathsOfTheLibrary(t *testing.T) {
	t.Parallel()
	sim, alice, _ := start(t)
	m := sim.AddServer(plextest.Server{Name: "server", Owner: alice})
	for path, want := range map[string]int{
		"/library": 3, "/library/": 3, "/library/sections": 2, "/library/sections/": 2, "/library/sections/all": 2,
	} {
		for accept, contentType := range map[string]string{"application/json": "application/json", "": "text/xml;charset=utf-8"} {
			r, _ := http.NewRequest("GET", m.URL+path, nil)
			r.Header = http.Header{"Accept": {accept}, "X-Plex-Token": {sim.SignIn(alice, "one")}}
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			var body struct {
				Directory      []struct{}                     `xml:"Directory" json:"-"`
				MediaContainer struct{ Directory []struct{} } `xml:"-"`
			}
			if accept == "" {
				err = xml.NewDecoder(response.Body).Decode(&body)
			} else {
				err = json.NewDecoder(response.Body).Decode(&body)
			}
			response.Body.Close()
			got := response.Header.Get("Content-Type")
			if n := len(body.Directory) + len(body.MediaContainer.Directory); err != nil || n != want || got != contentType {
				t.Errorf("%s: got %s with %d directories, %v; want %s with %d", path, got, n, err, contentType, want)
			}
		}
	}
	device{}.want(t, http.StatusOK, "GET", m.URL+"/identity")
	if status, _ := (device{}).do(t, "GET", m.URL+"/library"); status != http.StatusUnauthorized {
		t.Errorf("without a token: got %d, want 401", status)
	}
}

func TestHTTPSOnTheSamePort(t *testing.T) {
	t.Parallel()
	sim, alice, _ := start(t)
	m := sim.AddServer(plextest.Server{Name: "server", Owner: alice})
	_, port, _ := net.SplitHostPort(m.Addr)
	lan := &plextest.Network{
		Listeners: map[string]string{"192.168.1.100:32400": m.Addr},
		Hosts:     map[string]string{m.DirectName("192.168.1.100"): "192.168.1.100"},
	}
	trusting := device{client: &http.Client{Transport: &http.Transport{
		DialContext: lan.DialContext, TLSClientConfig: &tls.Config{RootCAs: sim.CertPool()}, DisableKeepAlives: true,
	}}}
	for _, base := range []string{
		m.URL, m.HTTPSURL, "https://localhost:" + port, "https://" + m.DirectName("192.168.1.100") + ":32400", "http://192.168.1.100:32400",
	} {
		if got := identity(t, trusting.want(t, http.StatusOK, "GET", base+"/identity")); got != m.MachineIdentifier {
			t.Errorf("%s: machineIdentifier %q", base, got)
		}
	}
	if _, _, err := trusting.try("GET", "https://192.168.1.100:32400/identity"); err == nil {
		t.Error("https to the bare address must fail validation")
	}
	var unknown *tls.CertificateVerificationError
	if _, _, err := (device{}).try("GET", m.HTTPSURL+"/identity"); !errors.As(err, &unknown) {
		t.Errorf("a client that does not trust the authority got: %v", err)
	}
	m.Update(func(s *plextest.Server) { s.HTTPSRequired = true })
	trusting.want(t, http.StatusOK, "GET", m.HTTPSURL+"/identity")
	if _, _, err := trusting.try("GET", m.URL+"/identity"); err == nil {
		t.Error("http works although https is required")
	}
}

func TestDownAndUpAtTheSameAddress(t *testing.T) {
	t.Parallel()
	sim, _, _ := start(t)
	m := sim.AddServer(plextest.Server{Name: "server"})
	silent, err := net.Dial("tcp", m.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	device{}.want(t, http.StatusOK, "GET", m.URL+"/identity")
	m.Stop()
	m.Stop()
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Error("a silent connection survives the server")
	}
	if _, _, err := (device{}).try("GET", m.URL+"/identity"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a stopped server: %v", err)
	}
	m.Start()
	m.Start()
	device{}.want(t, http.StatusOK, "GET", m.URL+"/identity")
}

func TestHangingAndSlowServers(t *testing.T) {
	t.Parallel()
	sim, _, _ := start(t)
	m := sim.AddServer(plextest.Server{Name: "server", Hangs: true})
	if _, _, err := (device{client: &http.Client{Timeout: 50 * time.Millisecond}}).try("GET", m.URL+"/identity"); err == nil {
		t.Error("a hanging server answered")
	}
	m.Update(func(s *plextest.Server) { s.Hangs, s.Delay = false, 30*time.Millisecond })
	begin := time.Now()
	device{}.want(t, http.StatusOK, "GET", m.URL+"/identity")
	if took := time.Since(begin); took < 30*time.Millisecond {
		t.Errorf("a slow server took %v", took)
	}
}

func TestPathPrefix(t *testing.T) {
	t.Parallel()
	sim, alice, _ := start(t)
	m := sim.AddServer(plextest.Server{Name: "server", Owner: alice, PathPrefix: "/plex/"})
	if !strings.HasSuffix(m.URL, "/plex") {
		t.Errorf("URL %s", m.URL)
	}
	device{}.want(t, http.StatusOK, "GET", m.URL+"/identity")
	device{token: sim.SignIn(alice, "one")}.want(t, http.StatusOK, "GET", m.URL+"/library/sections")
	if status, _ := (device{}).do(t, "GET", "http://"+m.Addr+"/identity"); status != http.StatusNotFound {
		t.Errorf("outside of the prefix: %d", status)
	}
	if sim.Count(plextest.Identity) != 1 || sim.Count(plextest.Sections) != 1 || sim.Count(plextest.Unknown) != 1 {
		t.Errorf("recorded %+v", sim.Requests())
	}
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	sim, _, _ := start(t)
	m := sim.AddServer(plextest.Server{Name: "server"})
	lan := &plextest.Network{
		Listeners: map[string]string{"192.168.1.100:32400": m.Addr, "[fd00::1]:32400": m.Addr},
		Hosts:     map[string]string{"plex.lan": "192.168.1.100"},
	}
	isDNS := func(err error) bool {
		var dns *net.DNSError
		return errors.As(err, &dns) && dns.IsNotFound
	}
	hangs := func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }
	refuses := func(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
	works := func(err error) bool { return err == nil }
	tests := []struct {
		addr string
		ok   func(error) bool
		dead bool
	}{
		{"192.168.1.100:32400", works, false}, {"[fd00::1]:32400", works, false}, {"plex.lan:32400", works, false},
		{m.Addr, works, false}, {"192.168.1.100:80", refuses, false}, {"192.168.1.1:32400", hangs, true},
		{"[fd00::2]:32400", hangs, true}, {"other.lan:32400", isDNS, false},
	}
	for _, test := range tests {
		patience := 10 * time.Second
		if test.dead {
			patience = 20 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		conn, err := lan.DialContext(ctx, "tcp", test.addr)
		cancel()
		if !test.ok(err) {
			t.Errorf("%s: %v", test.addr, err)
		}
		if conn != nil {
			conn.Close()
		}
	}
	if got := lan.Dialed(); len(got) != len(tests) || got[2] != "plex.lan:32400" {
		t.Errorf("dialled %q", got)
	}
}

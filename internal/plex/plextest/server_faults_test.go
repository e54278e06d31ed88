package plextest_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"plexlink.dev/operator/internal/plex/plextest"
)

func TestARevokedTokenIsCachedUntilTheServerRestarts(t *testing.T) {
	t.Parallel()
	sim, alice, _ := start(t)
	m := sim.AddServer(plextest.Server{Name: "server", Owner: alice, CachesTokens: true})
	seen, unseen := sim.SignIn(alice, "seen"), sim.SignIn(alice, "unseen")
	sections := func(token string) int {
		status, _ := device{token: token}.do(t, "GET", m.URL+"/library/sections")
		return status
	}
	sections(seen)
	sim.RevokeTokens(alice)
	if got := [...]int{sections(seen), sections(unseen), sections("wrong")}; got != [...]int{200, 401, 401} {
		t.Errorf("after the revocation: got %v, want only the one it has seen accepted", got)
	}
	m.Stop()
	m.Start()
	if got := sections(seen); got != 401 {
		t.Errorf("after the restart: got %d, want 401", got)
	}
}

func TestAllowedWithoutAuth(t *testing.T) {
	t.Parallel()
	sim, alice, _ := start(t)
	m := sim.AddServer(plextest.Server{Name: "server", Owner: alice, AllowedWithoutAuth: true})
	for _, token := range []string{"", "wrong"} {
		device{token: token}.want(t, http.StatusOK, "GET", m.URL+"/library/sections")
	}
}

func TestDisksWakeOnce(t *testing.T) {
	t.Parallel()
	sim, alice, _ := start(t)
	const spinUp = time.Second
	m := sim.AddServer(plextest.Server{Name: "server", Owner: alice, SpinUp: spinUp})
	d := device{token: sim.SignIn(alice, "one")}
	took := func(path string) time.Duration {
		begin := time.Now()
		d.want(t, http.StatusOK, "GET", m.URL+path)
		return time.Since(begin)
	}
	if got := took("/identity"); got >= spinUp {
		t.Errorf("identity took %v, want no wait for the disks", got)
	}
	if got := took("/library/sections"); got < spinUp {
		t.Errorf("the first library took %v, want at least %v", got, spinUp)
	}
	m.Update(func(s *plextest.Server) { s.SpinUp = time.Minute })
	d.client = &http.Client{Timeout: 10 * time.Second}
	took("/library/sections")
}

func TestIncompleteChain(t *testing.T) {
	t.Parallel()
	sim, _, _ := start(t)
	m := sim.AddServer(plextest.Server{Name: "server"})
	d := device{client: &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: sim.CertPool()}, DisableKeepAlives: true,
	}}}
	d.want(t, http.StatusOK, "GET", m.HTTPSURL+"/identity")
	m.Update(func(s *plextest.Server) { s.IncompleteChain = true })
	var unknown x509.UnknownAuthorityError
	if _, _, err := d.try("GET", m.HTTPSURL+"/identity"); !errors.As(err, &unknown) {
		t.Errorf("got %v, want an unknown authority", err)
	}
	m.Update(func(s *plextest.Server) { s.IncompleteChain = false })
	d.want(t, http.StatusOK, "GET", m.HTTPSURL+"/identity")
}

func TestOddRecordsStandAroundTheTrueOnes(t *testing.T) {
	t.Parallel()
	sim, alice, _ := start(t)
	sim.AddServer(plextest.Server{Name: "server", Owner: alice})
	d := device{clientIdentifier: "one", token: sim.SignIn(alice, "one")}
	sim.Fault(plextest.Fault{Endpoint: plextest.Resources, OddRecords: true})
	records := d.want(t, http.StatusOK, "GET", sim.URL+"/api/v2/resources").([]any)
	middle, _ := records[len(records)/2].(map[string]any)
	if len(records) != 13 || records[0] != nil || middle["name"] != "server" {
		t.Errorf("got %v, want six odd records before and after the server", records)
	}
}

func TestDriftChangesTypesOnly(t *testing.T) {
	t.Parallel()
	sim, _, _ := start(t)
	sim.Fault(plextest.Fault{Endpoint: plextest.CreatePIN, Drift: true})
	body := device{clientIdentifier: "one"}.want(t, http.StatusCreated, "POST", sim.URL+"/api/v2/pins").(map[string]any)
	location := body["location"].(map[string]any)
	if body["expiresIn"] != "900" || body["trusted"] != 0. || location["postal_code"] != 10115. || body["authToken"] != nil {
		t.Errorf("got %v, want the types changed and null left as it is", body)
	}
}

func TestGhostDevicesExceedOneMebibyte(t *testing.T) {
	t.Parallel()
	sim, alice, _ := start(t)
	sim.AddServer(plextest.Server{Name: "server", Owner: alice})
	sim.AddGhostDevices(alice, 2000)
	d := device{clientIdentifier: "one", token: sim.SignIn(alice, "one")}
	_, body := d.do(t, "GET", sim.URL+"/api/v2/resources")
	var records []struct{ Name, ClientIdentifier string }
	if err := json.Unmarshal([]byte(body), &records); err != nil {
		t.Fatal(err)
	}
	identifiers := map[string]bool{}
	for _, r := range records {
		identifiers[r.ClientIdentifier] = true
	}
	if len(body) <= 1<<20 || len(records) != 2001 || len(identifiers) != 2001 {
		t.Errorf("got %d records, %d different, in %d bytes; want 2,001 in more than 1 MiB", len(records), len(identifiers), len(body))
	}
}

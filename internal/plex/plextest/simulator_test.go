package plextest_test

import (
	"crypto/tls"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"plexlink.dev/operator/internal/plex/plextest"
)

// start is a simulator with driven time and one account.
func start(t *testing.T) (*plextest.Simulator, *plextest.Account, *clocktesting.FakePassiveClock) {
	t.Helper()
	clock := clocktesting.NewFakePassiveClock(time.Date(2025, 3, 7, 5, 24, 0, 0, time.UTC))
	sim := plextest.New(plextest.Options{Clock: clock})
	t.Cleanup(sim.Close)
	return sim, sim.AddAccount("alice"), clock
}

// device asks as one client identifier, with one token.
type device struct {
	clientIdentifier string
	token            string
	xml              bool
	client           *http.Client // nil: one without keep-alive
}

func (d device) try(method, target string) (status int, body string, err error) {
	r, err := http.NewRequest(method, target, nil)
	if err != nil {
		return 0, "", err
	}
	for name, value := range map[string]string{"X-Plex-Client-Identifier": d.clientIdentifier, "X-Plex-Token": d.token} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	if !d.xml {
		r.Header.Set("Accept", "application/json")
	}
	client := d.client
	if client == nil {
		client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	}
	response, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	return response.StatusCode, string(raw), err
}

func (d device) do(t *testing.T, method, target string) (status int, body string) {
	t.Helper()
	status, body, err := d.try(method, target)
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return status, body
}

// want asks, expects a status, and decodes the JSON body.
func (d device) want(t *testing.T, status int, method, target string) (body any) {
	t.Helper()
	got, raw := d.do(t, method, target)
	if got != status {
		t.Fatalf("%s %s: status %d, want %d; %s", method, target, got, status, raw)
	}
	if raw != "" {
		if err := json.Unmarshal([]byte(raw), &body); err != nil {
			t.Fatalf("%s %s: %v in %s", method, target, err, raw)
		}
	}
	return body
}

func (d device) mint(t *testing.T, sim *plextest.Simulator, query string) plextest.PIN {
	t.Helper()
	d.want(t, http.StatusCreated, "POST", sim.URL+"/api/v2/pins"+query)
	pins := sim.PINs()
	return pins[len(pins)-1]
}

func errorCode(t *testing.T, body any) any {
	t.Helper()
	return body.(map[string]any)["errors"].([]any)[0].(map[string]any)["code"]
}

func TestErrorsOfEveryEndpoint(t *testing.T) {
	t.Parallel()
	const none, wrong, right = "", "wrong", "right"
	for _, test := range []struct {
		endpoint, identifier, token string
		status                      int
		code                        float64
	}{
		{"POST /pins", none, none, 400, 1000},
		{"GET /pins/1", none, none, 400, 1000},
		{"GET /pins/1", "one", none, 404, 1020},
		{"GET /pins/abc", "one", none, 404, 1020},
		// The token is checked first.
		{"GET /user", none, none, 401, 1001}, {"GET /user", none, wrong, 401, 1001}, {"GET /user", none, right, 400, 1000},
		{"GET /user", "one", none, 401, 1001}, {"GET /user", "one", wrong, 401, 1001},
		{"GET /ping", none, none, 401, 1001}, {"GET /ping", none, right, 400, 1000},
		{"GET /resources", none, none, 401, 1001}, {"GET /resources", none, right, 400, 1000},
		{"DELETE /users/signout", none, none, 401, 1001}, {"DELETE /users/signout", none, right, 400, 1000},
		{"PUT /pins/link", none, none, 401, 1001}, {"PUT /pins/link", none, right, 400, 1000},
		{"PUT /pins/link", "one", right, 404, 1020},
		{"GET /pins", "one", none, 405, 1005}, {"DELETE /pins/1", "one", none, 405, 1005}, {"POST /user", "one", right, 405, 1005},
		{"GET /auth/nonce", "one", right, 404, 1002}, {"POST /auth/jwk", "one", right, 404, 1002}, {"GET /nothing", none, none, 404, 1002},
	} {
		sim, alice, _ := start(t)
		d := device{clientIdentifier: test.identifier, token: test.token}
		if d.token == right {
			d.token = sim.SignIn(alice, "one")
		}
		method, path, _ := strings.Cut(test.endpoint, " ")
		for _, suffix := range []string{"", ".json"} {
			body := d.want(t, test.status, method, sim.URL+"/api/v2"+path+suffix)
			if code := errorCode(t, body); code != test.code {
				t.Errorf("%s%s with %q and token %q: got code %v, want %v", test.endpoint, suffix, test.identifier, test.token, code, test.code)
			}
		}
	}
}

func TestSuffixSelectsTheFormat(t *testing.T) {
	t.Parallel()
	sim, alice, _ := start(t)
	token := sim.SignIn(alice, "one")
	for _, inXML := range []bool{false, true} {
		d := device{clientIdentifier: "one", token: token, xml: inXML}
		for suffix, want := range map[string]string{".json": "{", ".xml": "<?xml", "": map[bool]string{false: "{", true: "<?xml"}[inXML]} {
			if _, body := d.do(t, "GET", sim.URL+"/api/v2/user"+suffix); !strings.HasPrefix(body, want) {
				t.Errorf("%s, XML wanted by Accept: %t: got %.20s, want %s", suffix, inXML, body, want)
			}
		}
	}
}

func TestHTTPS(t *testing.T) {
	t.Parallel()
	sim, _, _ := start(t)
	lan := &plextest.Network{
		Listeners: map[string]string{"192.0.2.1:443": strings.TrimPrefix(sim.URL, "http://")},
		Hosts:     map[string]string{"plex.tv": "192.0.2.1", "clients.plex.tv": "192.0.2.1"},
	}
	d := device{clientIdentifier: "one", client: &http.Client{Transport: &http.Transport{
		DialContext: lan.DialContext, TLSClientConfig: &tls.Config{RootCAs: sim.CertPool()}, DisableKeepAlives: true,
	}}}
	for _, base := range []string{sim.URL, sim.HTTPSURL, "https://plex.tv", "https://clients.plex.tv"} {
		d.want(t, http.StatusCreated, "POST", base+"/api/v2/pins")
	}

	plain := plextest.New(plextest.Options{HTTPOnly: true})
	t.Cleanup(plain.Close)
	alice := plain.AddAccount("alice")
	m := plain.AddServer(plextest.Server{Name: "server", Owner: alice})
	owner := device{clientIdentifier: "one", token: plain.SignIn(alice, "one")}
	connection := owner.resources(t, plain, "?includeHttps=1")["server"]["connections"].([]any)[0].(map[string]any)
	if plain.HTTPSURL != "" || m.HTTPSURL != "" || connection["uri"] != m.URL {
		t.Errorf("got %q, %q, %v; want http only", plain.HTTPSURL, m.HTTPSURL, connection["uri"])
	}
	anyone := device{client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}}
	for _, address := range []string{m.Addr, strings.TrimPrefix(plain.URL, "http://")} {
		if _, _, err := anyone.try("GET", "https://"+address+"/"); err == nil {
			t.Errorf("https works at %s although it is off", address)
		}
	}
}

func TestPlexValuesMayComeInTheQuery(t *testing.T) {
	t.Parallel()
	sim, alice, _ := start(t)
	query := url.Values{
		"X-Plex-Client-Identifier": {"device"}, "X-Plex-Token": {sim.SignIn(alice, "device")}, "X-Plex-Product": {"P"},
	}
	device{}.want(t, http.StatusOK, "GET", sim.URL+"/api/v2/user?"+query.Encode())
	if r := sim.Requests()[0]; r.Account != "alice" || r.Product != "P" || r.ClientIdentifier != "device" {
		t.Errorf("recorded %+v", r)
	}
}

func TestXMLErrorBody(t *testing.T) {
	t.Parallel()
	sim, _, _ := start(t)
	status, body := device{clientIdentifier: "device", token: "wrong", xml: true}.do(t, "GET", sim.URL+"/api/v2/user")
	want := xml.Header + `<errors><error code="1001" message="User could not be authenticated" status="401"/></errors>`
	if status != http.StatusUnauthorized || body != want {
		t.Errorf("got %d %s, want 401 %s", status, body, want)
	}
}

func TestTokensAreRevoked(t *testing.T) {
	t.Parallel()
	alive := func(t *testing.T, sim *plextest.Simulator, clientIdentifier, token string) bool {
		status, _ := device{clientIdentifier: clientIdentifier, token: token}.do(t, "GET", sim.URL+"/api/v2/ping")
		return status == http.StatusOK
	}
	for name, test := range map[string]struct {
		end                  func(t *testing.T, sim *plextest.Simulator, alice *plextest.Account, token string)
		first, other, people bool // which tokens survive: this device's, the account's other device's, bob's
	}{
		"by linking again": {
			func(_ *testing.T, sim *plextest.Simulator, alice *plextest.Account, _ string) {
				sim.SignIn(alice, "one")
			},
			false, true, true,
		},
		"by signing out": {
			func(t *testing.T, sim *plextest.Simulator, _ *plextest.Account, token string) {
				device{clientIdentifier: "one", token: token}.want(t, http.StatusNoContent, "DELETE", sim.URL+"/api/v2/users/signout")
			},
			false, true, true,
		},
		"by revoking all": {
			func(_ *testing.T, sim *plextest.Simulator, alice *plextest.Account, _ string) {
				sim.RevokeTokens(alice)
			},
			false, false, true,
		},
		"not for another account": {
			func(_ *testing.T, sim *plextest.Simulator, _ *plextest.Account, _ string) {
				sim.SignIn(sim.AddAccount("carol"), "one")
			},
			true, true, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, alice, _ := start(t)
			one, two, bobs := sim.SignIn(alice, "one"), sim.SignIn(alice, "two"), sim.SignIn(sim.AddAccount("bob"), "one")
			test.end(t, sim, alice, one)
			got := []bool{alive(t, sim, "one", one), alive(t, sim, "two", two), alive(t, sim, "one", bobs)}
			for i, want := range []bool{test.first, test.other, test.people} {
				if got[i] != want {
					t.Errorf("tokens alive: %v, want %v %v %v", got, test.first, test.other, test.people)
					break
				}
			}
		})
	}
}

func TestSecretsAreRecorded(t *testing.T) {
	t.Parallel()
	sim, alice, _ := start(t)
	p := device{clientIdentifier: "device-1", token: "seen-token"}.mint(t, sim, "")
	if err := sim.Link(p.Code, alice); err != nil {
		t.Fatal(err)
	}
	all := strings.Join(sim.Secrets(), "\n")
	for _, secret := range []string{"device-1", "seen-token", sim.PINs()[0].Token} {
		if !strings.Contains(all, secret) {
			t.Errorf("a secret is missing among %d", len(sim.Secrets()))
		}
	}
	if strings.Contains(all, p.Code) {
		t.Error("the PIN's code is no secret")
	}
}

func TestEndsWithRequestsInFlight(t *testing.T) {
	t.Parallel()
	sim, _, _ := start(t)
	m := sim.AddServer(plextest.Server{Name: "hangs", Hangs: true})
	done := make(chan error)
	go func() {
		_, _, err := device{}.try("GET", m.URL+"/identity")
		done <- err
	}()
	for len(sim.Requests()) == 0 {
		time.Sleep(time.Millisecond)
	}
	sim.Close()
	if err := <-done; err == nil {
		t.Errorf("a hanging server answered")
	}
}

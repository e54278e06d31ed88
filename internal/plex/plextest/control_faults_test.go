package plextest_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"plexlink.dev/operator/internal/plex/plextest"
)

// control orders faults and returns the status and the body.
func control(t *testing.T, sim *plextest.Simulator, method, body string, header http.Header) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequest(method, sim.URL+"/_control/faults", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header, r.Host = header, header.Get("Host")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(raw)
}

var inJSON = http.Header{"Content-Type": {"application/json"}}

func TestFaultsAreSetByRequest(t *testing.T) {
	t.Parallel()
	sim, alice, _ := start(t)
	m := sim.AddServer(plextest.Server{Name: "My Plex Server", Owner: alice})
	d := device{clientIdentifier: "one", token: sim.SignIn(alice, "one")}
	status, body := control(t, sim, "POST", `{
		"faults": [{"endpoint": "GET /user", "status": 404, "empty": true, "times": 2, "delay": "1ms"}],
		"ghostDevices": {"alice": 3},
		"limit": {"perSecond": 1, "burst": 4},
		"servers": {"My Plex Server": {"allowedWithoutAuth": true, "delay": "1ms"}}
	}`, inJSON)
	if status != http.StatusNoContent {
		t.Fatalf("got %d %s, want 204", status, body)
	}
	statuses := func() (got [5]int) {
		for i := range got {
			got[i], _ = d.do(t, "GET", sim.URL+"/api/v2/user")
		}
		return got
	}
	if got := statuses(); got != [5]int{404, 404, 200, 200, 429} {
		t.Errorf("got %v, want two faults, then a limit of four", got)
	}
	device{token: "wrong"}.want(t, http.StatusOK, "GET", m.URL+"/library/sections")
	control(t, sim, "POST", `{"servers": {"My Plex Server": {"stopped": true}}}`, inJSON)
	if _, _, err := (device{}).try("GET", m.URL+"/identity"); err == nil {
		t.Error("the server answers although it was stopped")
	}
	control(t, sim, "POST", `{"servers": {"My Plex Server": {"stopped": false}}}`, inJSON)
	device{token: "wrong"}.want(t, http.StatusOK, "GET", m.URL+"/library/sections") // Faults that were not named remain.

	control(t, sim, "DELETE", "", nil)
	if got := statuses(); got != [5]int{200, 200, 200, 200, 200} {
		t.Errorf("after all faults were ended: got %v", got)
	}
	if status, _ := (device{token: "wrong"}).do(t, "GET", m.URL+"/library/sections"); status != http.StatusUnauthorized {
		t.Errorf("after all faults were ended: got %d, want 401", status)
	}
	if got := len(d.want(t, http.StatusOK, "GET", sim.URL+"/api/v2/resources").([]any)); got != 4 {
		t.Errorf("got %d resources, want the server and three ghosts", got)
	}
}

func TestInvalidFaultOrderChangesNothing(t *testing.T) {
	t.Parallel()
	const good = `"faults": [{"endpoint": "GET /user", "status": 500, "times": -1}]`
	for name, test := range map[string]struct {
		body   string
		header http.Header
		status int
		want   string
	}{
		"unknown endpoint":  {`{"limit": {"perSecond": 0.001}, "faults": [{"endpoint": "GET /users"}]}`, inJSON, 400, `"GET /user"`},
		"unknown account":   {`{` + good + `, "ghostDevices": {"bob": 1}}`, inJSON, 400, `no account "bob"`},
		"unknown server":    {`{` + good + `, "servers": {"x": {}}}`, inJSON, 400, `no server "x"`},
		"unknown field":     {`{` + good + `, "fault": 1}`, inJSON, 400, `unknown field "fault"`},
		"unknown fault":     {`{"faults": [{"endpoint": "GET /user", "sleep": "1s"}]}`, inJSON, 400, `unknown field "sleep"`},
		"duration":          {`{"faults": [{"endpoint": "GET /user", "delay": 5}]}`, inJSON, 400, `"1.5s"`},
		"form":              {`{` + good + `}`, http.Header{"Content-Type": {"text/plain"}}, 415, "application/json"},
		"a rebound name":    {`{` + good + `}`, http.Header{"Content-Type": {"application/json"}, "Host": {"evil.example"}}, 403, "loopback"},
		"nothing at all":    {``, inJSON, 400, "EOF"},
		"a fault of a list": {`[]`, inJSON, 400, "cannot unmarshal"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, alice, _ := start(t)
			status, body := control(t, sim, "POST", test.body, test.header)
			if status != test.status || !strings.Contains(body, test.want) {
				t.Errorf("got %d %s, want %d and %s", status, body, test.status, test.want)
			}
			d := device{clientIdentifier: "one", token: sim.SignIn(alice, "one")}
			d.want(t, http.StatusOK, "GET", sim.URL+"/api/v2/user")
		})
	}
}

func TestOnlyLoopbackMaySetFaults(t *testing.T) {
	t.Parallel()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		ip := a.(*net.IPNet).IP
		if ip.To4() == nil || ip.IsLoopback() {
			continue
		}
		sim := plextest.New(plextest.Options{Addr: net.JoinHostPort(ip.String(), "0")})
		t.Cleanup(sim.Close)
		header := http.Header{"Content-Type": {"application/json"}, "Host": {"localhost"}}
		if status, _ := control(t, sim, "POST", `{}`, header); status != http.StatusForbidden {
			t.Errorf("from %s: got %d, want 403", ip, status)
		}
		return
	}
	t.Skip("this machine has no address but loopback")
}

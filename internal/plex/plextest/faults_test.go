package plextest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"plexlink.dev/operator/internal/plex/plextest"
)

func TestFaults(t *testing.T) {
	t.Parallel()
	elsewhere := "http://127.0.0.1:1/"
	for name, test := range map[string]struct {
		fault  plextest.Fault
		status int // 0: the connection is cut
		body   string
		header http.Header
	}{
		"rate limit": {
			plextest.Fault{Status: 429, Header: http.Header{"Retry-After": {"7"}}}, 429, `"code":1003`, http.Header{"Retry-After": {"7"}},
		},
		"invalid token":     {plextest.Fault{Status: 401}, 401, `"code":1001`, nil},
		"blocked address":   {plextest.Fault{Status: 401, Code: 1031}, 401, `"code":1031`, nil},
		"bad gateway":       {plextest.Fault{Status: 502}, 502, "<h1>502 Bad Gateway</h1>", nil},
		"edge's 404":        {plextest.Fault{Status: 404, Empty: true}, 404, "", http.Header{"Content-Type": nil, "Content-Length": {"0"}}},
		"not found":         {plextest.Fault{Status: 404}, 404, `"code":1002`, nil},
		"another form":      {plextest.Fault{Status: 404, Body: `{"error":"gone"}`}, 404, `{"error":"gone"}`, nil},
		"garbage":           {plextest.Fault{Body: "\x00\xff<"}, 200, "\x00\xff<", nil},
		"redirect":          {plextest.Fault{RedirectTo: elsewhere}, 302, "302 Found", http.Header{"Location": {elsewhere}}},
		"huge":              {plextest.Fault{HugeBody: 100_000}, 200, strings.Repeat(" ", 100_000), nil},
		"dropped":           {plextest.Fault{Drop: true}, 0, "", nil},
		"answer dropped":    {plextest.Fault{DropAnswer: true}, 0, "", nil},
		"slow answer":       {plextest.Fault{SlowBody: 10 * time.Microsecond}, 201, `"code":`, nil},
		"header only":       {plextest.Fault{Header: http.Header{"x-test": {"1"}}}, 201, `"code":`, http.Header{"X-Test": {"1"}}},
		"late and unwell":   {plextest.Fault{Delay: time.Millisecond, Status: 503}, 503, "503 Service Unavailable", nil},
		"a JWT has expired": {plextest.Fault{Status: 498, Body: "{}"}, 498, "{}", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, _, _ := start(t)
			test.fault.Endpoint = plextest.CreatePIN
			sim.Fault(test.fault)
			r, _ := http.NewRequest("POST", sim.URL+"/api/v2/pins", nil)
			r.Header = http.Header{"X-Plex-Client-Identifier": {"one"}, "Accept": {"application/json"}}
			response, err := http.DefaultTransport.RoundTrip(r)
			if test.status == 0 {
				if err == nil {
					t.Fatal("the connection was not cut")
				}
			} else {
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(response.Body)
				response.Body.Close()
				if err != nil || response.StatusCode != test.status || !strings.Contains(string(body), test.body) {
					t.Errorf("got %d %.200q %v", response.StatusCode, body, err)
				}
				for key := range test.header {
					if got, want := response.Header.Get(key), test.header.Get(key); got != want {
						t.Errorf("%s: %q, want %q", key, got, want)
					}
				}
			}
			if got := sim.Requests()[0].Status; got != test.status {
				t.Errorf("recorded status %d, want %d", got, test.status)
			}
			minted := 0
			if test.fault.DropAnswer || test.status == http.StatusCreated {
				minted = 1
			}
			if got := len(sim.PINs()); got != minted {
				t.Errorf("%d PINs minted, want %d", got, minted)
			}
			device{clientIdentifier: "one"}.mint(t, sim, "")
		})
	}
}

func TestFaultsApplyInOrderToTheirEndpointOnly(t *testing.T) {
	t.Parallel()
	sim, _, _ := start(t)
	one, two := sim.AddServer(plextest.Server{Name: "one"}), sim.AddServer(plextest.Server{Name: "two"})
	sim.Fault(plextest.Fault{Endpoint: plextest.Identity, Server: "one", Times: 2, Status: 500})
	sim.Fault(plextest.Fault{Endpoint: plextest.Identity, Server: "one", Times: -1, Status: 404})
	var got []int
	for _, m := range []*plextest.MediaServer{one, two, one, one, one, two} {
		status, body := device{}.do(t, "GET", m.URL+"/identity")
		if status != 200 && !strings.HasPrefix(body, "<html>") {
			t.Errorf("a media server's error: %s", body)
		}
		got = append(got, status)
	}
	sim.ClearFaults()
	status, _ := device{}.do(t, "GET", one.URL+"/identity")
	if got = append(got, status); fmt.Sprint(got) != "[500 200 500 404 404 200 200]" {
		t.Errorf("statuses %v", got)
	}
}

// Go's transport repeats a GET on a reused connection that ends before the first byte.
func TestADroppedGETIsNotRepeatedByTheTransport(t *testing.T) {
	t.Parallel()
	sim, _, _ := start(t)
	d := device{clientIdentifier: "one", client: &http.Client{Transport: &http.Transport{}}}
	p := d.mint(t, sim, "")
	sim.Fault(plextest.Fault{Endpoint: plextest.CheckPIN, Drop: true})
	if _, _, err := d.try("GET", pinURL(sim, p)); err == nil {
		t.Error("the drop was not noticed")
	}
	if n := sim.Count(plextest.CheckPIN); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestLimitRefusesWhatIsOverIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limit plextest.Limit
		apart time.Duration // between two requests
		want  string
	}{
		"within the limit": {plextest.Limit{PerSecond: 2, Burst: 1}, 500 * time.Millisecond, "[200 200 200 200 200 200]"},
		"over it":          {plextest.Limit{PerSecond: 2, Burst: 1}, 250 * time.Millisecond, "[200 429 200 429 200 429]"},
		"with a burst":     {plextest.Limit{PerSecond: 2, Burst: 3}, 0, "[200 200 200 429 429 429]"},
		"with Retry-After": {plextest.Limit{PerSecond: 0.25, Burst: 1, RetryAfter: true}, time.Second, "[200 429 after 3 429 after 2 429 after 1 200 429 after 3]"},
		"none":             {plextest.Limit{}, 0, "[200 200 200 200 200 200]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, alice, clock := start(t)
			token := sim.SignIn(alice, "one")
			sim.Limit(c.limit)
			var got []string
			for range 6 {
				request, err := http.NewRequest(http.MethodGet, sim.URL+"/api/v2/user?X-Plex-Client-Identifier=one&X-Plex-Token="+token, nil)
				if err != nil {
					t.Fatal(err)
				}
				response, err := http.DefaultClient.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				_ = response.Body.Close()
				answer := fmt.Sprint(response.StatusCode)
				if after := response.Header.Get("Retry-After"); after != "" {
					answer += " after " + after
				}
				got = append(got, answer)
				clock.SetTime(clock.Now().Add(c.apart))
			}
			if fmt.Sprint(got) != c.want {
				t.Errorf("got %v, want %s", got, c.want)
			}
		})
	}
}

package plex

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"plexlink.dev/operator/internal/plex/plextest"
)

// calls are the calls of a client, by the names that metrics use.
var calls = map[string]struct {
	endpoint plextest.Endpoint
	do       func(ctx context.Context, h *home, id Sensitive) error
}{
	"pins.create": {plextest.CreatePIN, func(ctx context.Context, h *home, _ Sensitive) error {
		_, err := h.client.CreatePIN(ctx, h.device)
		return err
	}},
	"pins.check": {plextest.CheckPIN, func(ctx context.Context, h *home, id Sensitive) error {
		_, err := h.client.CheckPIN(ctx, h.device, id)
		return err
	}},
	"pins.link": {plextest.LinkPIN, func(ctx context.Context, h *home, _ Sensitive) error {
		return h.client.EnterPIN(ctx, h.device, h.token, "ABCD")
	}},
	"user": {plextest.User, func(ctx context.Context, h *home, _ Sensitive) error {
		_, err := h.client.Account(ctx, h.device, h.token)
		return err
	}},
	"resources": {plextest.Resources, func(ctx context.Context, h *home, _ Sensitive) error {
		_, err := h.client.Resources(ctx, h.device, h.token)
		return err
	}},
	"ping": {plextest.Ping, func(ctx context.Context, h *home, _ Sensitive) error {
		return h.client.Ping(ctx, h.device, h.token)
	}},
	"signout": {plextest.SignOut, func(ctx context.Context, h *home, _ Sensitive) error {
		return h.client.SignOut(ctx, h.device, h.token)
	}},
}

func TestALinkFromPINToSignOut(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.sim.AddServer(plextest.Server{Name: "Home", Owner: h.owner})
	h.sim.AddDevice(h.owner, "Phone", "client,player,media-server-controller")
	ctx, c, d := t.Context(), h.client, h.device

	pin, err := c.CreatePIN(ctx, d)
	if err != nil || len(pin.Code) != 4 || pin.ExpiresIn != 900*time.Second || !strings.HasSuffix(pin.QRURL, pin.Code) {
		t.Fatalf("got %+v, %v; want a PIN of 4 characters for 900 s with a QR URL", pin, err)
	}
	if got := c.LinkURL(pin.Code); got != h.sim.URL+"/link/?pin="+pin.Code {
		t.Errorf("LinkURL = %s, want the page with the code", got)
	}
	if got := c.EntryURL(); got != h.sim.URL+"/link" {
		t.Errorf("EntryURL = %s, want the page", got)
	}
	if token, err := c.CheckPIN(ctx, d, pin.ID); token != "" || err != nil {
		t.Errorf("pending: got a token: %t, %v; want none", token != "", err)
	}
	stranger := d
	stranger.ClientIdentifier = "another-device"
	if _, err := c.CheckPIN(ctx, stranger, pin.ID); !errors.Is(err, ErrPINGone) {
		t.Errorf("with another identifier: got %v, want %v", err, ErrPINGone)
	}
	if err := h.sim.Link(pin.Code, h.owner); err != nil {
		t.Fatal(err)
	}
	token, err := c.CheckPIN(ctx, d, pin.ID)
	if err != nil || token == "" {
		t.Fatalf("linked: got a token: %t, %v; want one", token != "", err)
	}
	if a, err := c.Account(ctx, d, token); err != nil || a.Username != "alice" || a.UUID != h.owner.UUID {
		t.Errorf("got the account %+v, %v; want alice", a, err)
	}
	for _, drift := range []bool{false, true} {
		h.sim.Fault(plextest.Fault{Endpoint: plextest.Resources, Drift: drift})
		list, err := c.Resources(ctx, d, token)
		if err != nil || list.Skipped != 0 || len(list.Servers) != 1 || list.Servers[0].Name != "Home" || list.Servers[0].AccessToken != token {
			t.Errorf("got %+v, %v; want Home with the account's token", list, err)
		}
	}
	if err := c.Ping(ctx, d, token); err != nil {
		t.Error(err)
	}
	if err := c.SignOut(ctx, d, token); err != nil {
		t.Error(err)
	}
	if err := c.Ping(ctx, d, token); !errors.Is(err, ErrTokenInvalid) {
		t.Errorf("after signing out: got %v, want %v", err, ErrTokenInvalid)
	}
	for _, r := range h.sim.Requests() {
		if r.Product != "PlexLink" || r.DeviceName != "kometa (media)" || r.Header.Get("Accept") != "application/json" ||
			r.Header.Get("X-Plex-Version") != "0.1.0" || r.Header.Get("X-Plex-Platform") != "Kubernetes" ||
			r.Header.Get("X-Plex-Device") != "Kubernetes" || strings.Contains(r.URL, "X-Plex") {
			t.Errorf("%s: got the wrong headers, or one in the URL: %s, %v", r.Endpoint, r.URL, r.Header)
		}
	}
}

func TestEveryFaultAtEveryEndpoint(t *testing.T) {
	t.Parallel()
	date := time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat)
	throttled := new(ThrottledError)
	faults := map[string]struct {
		fault plextest.Fault
		want  func(call string) error
		short bool // shorten the time-out: the fault is a slow answer
	}{
		"500":                {plextest.Fault{Status: 500}, always(ErrUnavailable), false},
		"502 HTML":           {plextest.Fault{Status: 502, Body: "<html>bad gateway</html>"}, always(ErrUnavailable), false},
		"429":                {plextest.Fault{Status: 429}, always(throttled), false},
		"429 seconds":        {plextest.Fault{Status: 429, Header: http.Header{"Retry-After": {"30"}}}, always(throttled), false},
		"429 date":           {plextest.Fault{Status: 429, Header: http.Header{"Retry-After": {date}}}, always(throttled), false},
		"429 huge":           {plextest.Fault{Status: 429, HugeBody: 1 << 30}, always(throttled), false},
		"401/1001":           {plextest.Fault{Status: 401, Code: 1001}, withToken(ErrTokenInvalid, ErrUnavailable), false},
		"401 HTML":           {plextest.Fault{Status: 401, Body: "<html></html>"}, withToken(ErrTokenRefused, ErrUnavailable), false},
		"401/1031":           {plextest.Fault{Status: 401, Code: 1031}, always(throttled), false},
		"422":                {plextest.Fault{Status: 422, Body: `{"error":"Invalid token"}`}, withToken(ErrTokenInvalid, ErrBadRequest), false},
		"400":                {plextest.Fault{Status: 400}, always(ErrBadRequest), false},
		"404 HTML":           {plextest.Fault{Status: 404, Body: "<html></html>"}, always(ErrUnavailable), false},
		"404 empty":          {plextest.Fault{Status: 404, Empty: true}, always(ErrUnavailable), false},
		"403":                {plextest.Fault{Status: 403, Code: 1}, withToken(ErrTokenRefused, ErrBadRequest), false},
		"498":                {plextest.Fault{Status: 498}, withToken(ErrTokenRefused, ErrUnavailable), false},
		"time-out":           {plextest.Fault{Delay: time.Minute}, always(ErrUnavailable), true},
		"dropped":            {plextest.Fault{Drop: true}, always(ErrUnavailable), false},
		"slow body":          {plextest.Fault{Status: 200, Body: strings.Repeat(" ", 99), SlowBody: time.Second}, always(ErrUnavailable), true},
		"1 GiB body":         {plextest.Fault{HugeBody: 1 << 30}, always(ErrUnavailable), false},
		"truncated JSON":     {plextest.Fault{Body: `{"id":12345678,"code":"AB`}, always(ErrUnavailable), false},
		"wrong types":        {plextest.Fault{Body: `{"id":[],"authToken":{},"username":{},"pong":{}}`}, always(ErrUnavailable), false},
		"HTML with 200":      {plextest.Fault{Body: "<html>log in to the airport</html>"}, always(ErrUnavailable), false},
		"redirect":           {plextest.Fault{RedirectTo: "https://evil.example/api/v2/user"}, always(ErrUnavailable), false},
		"broken redirect":    {plextest.Fault{RedirectTo: "https://%zz/"}, always(ErrUnavailable), false},
		"redirect to itself": {plextest.Fault{RedirectTo: "/api/v2/user", Status: 307}, always(ErrUnavailable), false},
	}
	for name, tc := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t)
			h.link(t, h.owner)
			pin, err := h.client.CreatePIN(t.Context(), h.device)
			if err != nil {
				t.Fatal(err)
			}
			if tc.short {
				h.client.timeout = time.Second // A busy machine takes a while to send the request, which uses up the fault.
			}
			for call, c := range calls {
				tc.fault.Endpoint = c.endpoint
				h.sim.Fault(tc.fault)
				err := c.do(t.Context(), h, pin.ID)
				var got *ThrottledError
				switch want := tc.want(call); {
				case want == error(throttled):
					told := len(tc.fault.Header) > 0
					if !errors.As(err, &got) || (got.RetryAfter > 20*time.Second) != told || got.RetryAfter > 2*time.Minute {
						t.Errorf("%s: got %v, want a ThrottledError, with RetryAfter: %t", call, err, told)
					}
				case !errors.Is(err, want):
					t.Errorf("%s: got %v, want %v", call, err, want)
				}
				h.showsNoSecret(t, err)
			}
			// The fault has no lasting effect.
			h.client.timeout = 10 * time.Second
			for _, call := range []string{"pins.create", "pins.check", "user", "resources", "ping", "signout"} {
				if err := calls[call].do(t.Context(), h, pin.ID); err != nil {
					t.Errorf("%s afterwards: got %v, want no error", call, err)
				}
			}
		})
	}
}

func TestEveryCallReadsAnswersWhoseTypesDrift(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	m := h.sim.AddServer(plextest.Server{Name: "Home", Owner: h.owner})
	h.link(t, h.owner)
	drift := func(endpoint plextest.Endpoint) { h.sim.Fault(plextest.Fault{Endpoint: endpoint, Drift: true}) }
	drift(plextest.CreatePIN)
	pin, err := h.client.CreatePIN(t.Context(), h.device)
	if err != nil || pin.ExpiresIn != 900*time.Second {
		t.Fatalf("got %+v, %v; want a PIN for 900 s", pin, err)
	}
	for _, call := range []string{"pins.check", "user", "resources", "ping"} {
		drift(calls[call].endpoint)
		if err := calls[call].do(t.Context(), h, pin.ID); err != nil {
			t.Errorf("%s: got %v, want no error", call, err)
		}
	}
	if err := h.sim.Link(pin.Code, h.owner); err != nil {
		t.Fatal(err)
	}
	drift(plextest.CheckPIN)
	token, err := h.client.CheckPIN(t.Context(), h.device, pin.ID)
	if err != nil || token == "" {
		t.Errorf("linked: got a token: %t, %v; want one", token != "", err)
	}
	for _, endpoint := range []plextest.Endpoint{plextest.Identity, plextest.Sections} {
		drift(endpoint)
	}
	server := Server{MachineIdentifier: m.MachineIdentifier, AccessToken: token}
	if proof := h.prober.Prove(t.Context(), h.device, server, []Candidate{{URL: m.URL}}); proof.Chosen == nil {
		t.Errorf("got %v, want the server proven", proof.Outcomes[0].Err)
	}
}

func always(err error) func(string) error { return func(string) error { return err } }

func withToken(with, without error) func(string) error {
	return func(call string) error {
		if strings.HasPrefix(call, "pins.") && call != "pins.link" {
			return without
		}
		return with
	}
}

// showsNoSecret fails the test if the error, or any error that it wraps, shows a secret or a path in any format.
func (h *home) showsNoSecret(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	shown := fmt.Sprintf("%v %+v %#v %q", err, err, err, err)
	for _, secret := range append(h.sim.Secrets(), "/api/v2", "/pins/") {
		if strings.Contains(shown, secret) {
			t.Errorf("the error shows %q: %s", secret, shown)
		}
	}
	switch e := err.(type) { //nolint:errorlint // walks the whole tree
	case interface{ Unwrap() error }:
		h.showsNoSecret(t, e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, e := range e.Unwrap() {
			h.showsNoSecret(t, e)
		}
	}
}

// The servers echo secrets in an error message, in an answer that is not HTTP, and in a redirect.
func TestErrorsShowNothingOfWhatAnEchoReturns(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"message": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"error":"%s %s %s"}`, r.URL.Path, r.Header.Get("X-Plex-Token"), r.Header.Get("X-Plex-Client-Identifier"))
		},
		"no HTTP": func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			fmt.Fprintf(conn, "%s %s %s\r\n\r\n", r.URL.Path, r.Header.Get("X-Plex-Token"), r.Header.Get("X-Plex-Client-Identifier"))
			_ = conn.Close()
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "https://%zz"+r.URL.Path+r.Header.Get("X-Plex-Token"))
			w.WriteHeader(http.StatusFound)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			echo := httptest.NewServer(handler)
			t.Cleanup(echo.Close)
			h := newHome(t)
			h.link(t, h.owner) // the simulator collects the secrets
			pin, err := h.client.CreatePIN(t.Context(), h.device)
			if err != nil {
				t.Fatal(err)
			}
			if h.client, err = NewClient(Options{BaseURL: echo.URL}); err != nil {
				t.Fatal(err)
			}
			for call, c := range calls {
				err := c.do(t.Context(), h, pin.ID)
				if err == nil {
					t.Errorf("%s: got no error, want one", call)
				}
				for _, secret := range h.sim.Secrets() {
					if strings.Contains(fmt.Sprintf("%v %#v", err, err), secret) {
						t.Errorf("%s shows %q: %v", call, secret, err)
					}
				}
			}
			at := []Candidate{{URL: echo.URL}}
			proof := h.prober.Prove(t.Context(), h.device, Server{MachineIdentifier: "m", AccessToken: h.token}, at)
			h.showsNoSecret(t, proof.Outcomes[0].Err)
		})
	}
}

func TestNewClientRefusesABadURL(t *testing.T) {
	t.Parallel()
	for _, base := range []string{
		"plex.tv", "ftp://plex.tv", "https://", "https://user:hunter2@plex.tv", "https://plex.tv?x=1", "https://plex.tv/#a",
		"https://plex.tv:https", "https://plex.tv:0x1", "https://pl ex.tv", "https://plex.tv:", "://", "/",
	} {
		c, err := NewClient(Options{BaseURL: base})
		if err == nil || c != nil || !strings.Contains(err.Error(), "must look like https://plex.tv") ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want an error without the password", base, err)
		}
	}
	c, err := NewClient(Options{})
	if err != nil || c.LinkURL("AB&D") != "https://plex.tv/link/?pin=AB%26D" {
		t.Errorf("the default: got %v, want a client of https://plex.tv", err)
	}
}

func TestATokenEntersThePINOfAnotherDevice(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.link(t, h.owner)
	other := Device{ClientIdentifier: "another-device", Product: "PlexLink", Name: "tautulli (media)"}
	pin, err := h.client.CreatePIN(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.client.EnterPIN(t.Context(), h.device, h.token, pin.Code); err != nil {
		t.Fatal(err)
	}
	token, err := h.client.CheckPIN(t.Context(), other, pin.ID)
	if err != nil || token == "" || token == h.token {
		t.Errorf("got a token: %t, that of the first device: %t, %v; want another one", token != "", token == h.token, err)
	}
	for _, r := range h.sim.Requests() {
		if r.Endpoint == plextest.LinkPIN && (r.Product != "Plex SSO" || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded") {
			t.Errorf("got the product %q and %q, want those of plex.tv/link", r.Product, r.Header.Get("Content-Type"))
		}
	}
}

func TestRefusedClaims(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.link(t, h.owner)
	for name, row := range map[string]struct {
		fault plextest.Fault
		want  Class
	}{
		"403":                {plextest.Fault{Status: 403}, ClassClaimRefused},
		"403 without a body": {plextest.Fault{Status: 403, Body: " "}, ClassClaimRefused},
		"404/1020":           {plextest.Fault{Status: 404}, ClassClaimRefused},
		"404/1002":           {plextest.Fault{Status: 404, Code: 1002}, ClassClaimRefused},
		"404 in an outage":   {plextest.Fault{Status: 404, Body: " "}, ClassUnavailable},
		"405":                {plextest.Fault{Status: 405}, ClassClaimRefused},
		"410":                {plextest.Fault{Status: 410}, ClassClaimRefused},
		"422":                {plextest.Fault{Status: 422, Code: 1069}, ClassClaimRefused},
		"401/1001":           {plextest.Fault{Status: 401}, ClassTokenInvalid},
		"401":                {plextest.Fault{Status: 401, Body: "<html>"}, ClassTokenRefused},
		"429":                {plextest.Fault{Status: 429}, ClassThrottled},
		"500":                {plextest.Fault{Status: 500}, ClassUnavailable},
	} {
		row.fault.Endpoint = plextest.LinkPIN
		h.sim.Fault(row.fault)
		if err := h.client.EnterPIN(t.Context(), h.device, h.token, "ABCD"); Classify(err) != row.want {
			t.Errorf("%s: got %v, %s; want %s", name, err, Classify(err), row.want)
		}
	}
}

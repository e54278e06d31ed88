package plextest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"plexlink.dev/operator/internal/plex/plextest"
)

func pinURL(sim *plextest.Simulator, p plextest.PIN) string {
	return fmt.Sprintf("%s/api/v2/pins/%d", sim.URL, p.ID)
}

func TestPINLife(t *testing.T) {
	t.Parallel()
	const link, poll, foreignPoll = "link", "poll", "foreign poll"
	type step struct {
		after time.Duration // since the step before
		do    string
		want  any // poll: expiresIn, or the error code as a string; link: whether it works
		token bool
	}
	for name, test := range map[string]struct {
		query string
		steps []step
	}{
		"pending":                   {"", []step{{0, poll, 900., false}, {899500 * time.Millisecond, poll, 1., false}, {500 * time.Millisecond, poll, "1020", false}}},
		"linked in the last second": {"", []step{{899 * time.Second, link, true, false}, {9 * time.Second, poll, 1., true}}},
		"linked too late":           {"", []step{{900 * time.Second, link, false, false}}},
		"ten seconds from the claim, read or not": {"", []step{
			{60 * time.Second, link, true, false}, {0, poll, 10., true}, {0, poll, 10., true}, {9 * time.Second, poll, 1., true},
			{time.Second, poll, "1020", false},
		}},
		"lost when it is not polled": {"", []step{{0, link, true, false}, {10 * time.Second, poll, "1020", false}}},
		"entered once":               {"", []step{{0, link, true, false}, {0, link, false, false}, {0, poll, 10., true}}},
		"another client identifier": {"", []step{
			{0, foreignPoll, "1020", false}, {0, link, true, false}, {0, foreignPoll, "1020", false}, {0, poll, 10., true},
		}},
		"strong": {"?strong=True", []step{{0, link, false, false}, {0, poll, 1800., false}, {1800 * time.Second, poll, "1020", false}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, alice, clock := start(t)
			d := device{clientIdentifier: "one"}
			p := d.mint(t, sim, test.query)
			for i, s := range test.steps {
				clock.SetTime(clock.Now().Add(s.after))
				switch s.do {
				case link:
					if err := sim.Link(p.Code, alice); (err == nil) != s.want {
						t.Fatalf("step %d: link: %v", i, err)
					}
					continue
				case foreignPoll:
					d.clientIdentifier = "two"
				default:
					d.clientIdentifier = "one"
				}
				if code, ok := s.want.(string); ok {
					got := errorCode(t, d.want(t, http.StatusNotFound, "GET", pinURL(sim, p)))
					if fmt.Sprint(got) != code {
						t.Fatalf("step %d: code %v, want %s", i, got, code)
					}
					continue
				}
				body := d.want(t, http.StatusOK, "GET", pinURL(sim, p)).(map[string]any)
				if body["expiresIn"] != s.want || (body["authToken"] != nil) != s.token || (body["newRegistration"] == false) != s.token {
					t.Fatalf("step %d: %v, want expiresIn %v, token %v", i, body, s.want, s.token)
				}
			}
		})
	}
}

func TestNewPIN(t *testing.T) {
	t.Parallel()
	sim, _, _ := start(t)
	d := device{clientIdentifier: "one"}
	body := d.want(t, http.StatusCreated, "POST", sim.URL+"/api/v2/pins").(map[string]any)
	code := body["code"].(string)
	for key, want := range map[string]any{
		"product": "0", "trusted": false, "clientIdentifier": "one", "qr": sim.URL + "/api/v2/pins/qr/" + code,
		"createdAt": "2025-03-07T05:24:00Z", "expiresAt": "2025-03-07T05:39:00Z", "authToken": nil, "newRegistration": nil,
	} {
		if got, ok := body[key]; !ok || got != want {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	if len(code) != 4 {
		t.Errorf("PIN %q has not 4 characters", code)
	}
	if strong := d.mint(t, sim, "?strong=true"); len(strong.Code) != 25 {
		t.Errorf("strong PIN %q has not 25 characters", strong.Code)
	}
}

func TestStrongPINIsLinkedByProgramOnly(t *testing.T) {
	t.Parallel()
	sim, alice, _ := start(t)
	p := device{clientIdentifier: "one"}.mint(t, sim, "?strong=true")
	if err := sim.Link(p.Code, alice); err == nil {
		t.Error("the page takes a strong PIN, want it refused")
	}
	sso := device{clientIdentifier: "sso", token: sim.SignIn(alice, "sso")}
	sso.want(t, http.StatusNoContent, "PUT", sim.URL+"/api/v2/pins/link?code="+p.Code)
}

func TestParametersMayComeInTheBody(t *testing.T) {
	t.Parallel()
	const form, inJSON = "application/x-www-form-urlencoded", "application/json"
	for name, test := range map[string]struct {
		contentType, body string
		strong            bool
		status            int
	}{
		"form":                         {form, "strong=true&X-Plex-Client-Identifier=one&X-Plex-Product=P", true, 201},
		"JSON":                         {inJSON, `{"strong":true,"jwk":{"kty":"OKP"}}`, true, 201},
		"JSON, null":                   {inJSON, `{"strong":null}`, false, 201},
		"JSON, no object":              {inJSON, `""`, false, 201},
		"JSON, cut off":                {inJSON, `{"strong":`, false, 201},
		"form of another content type": {"text/plain", "strong=true", false, 201},
		"client identifier in JSON":    {inJSON, `{"X-Plex-Client-Identifier":"one"}`, false, 400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, _, _ := start(t)
			r, _ := http.NewRequest("POST", sim.URL+"/api/v2/pins", strings.NewReader(test.body))
			r.Header.Set("Content-Type", test.contentType)
			if !strings.Contains(test.body, "Client-Identifier") {
				r.Header.Set("X-Plex-Client-Identifier", "one")
			}
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != test.status {
				t.Fatalf("got %d, want %d", response.StatusCode, test.status)
			}
			if test.status == 201 && (sim.PINs()[0].Strong != test.strong || sim.PINs()[0].ClientIdentifier != "one") {
				t.Errorf("got %+v, want strong: %t", sim.PINs()[0], test.strong)
			}
		})
	}
}

func TestLinkTakesAForm(t *testing.T) {
	t.Parallel()
	sim, alice, _ := start(t)
	p := device{clientIdentifier: "one"}.mint(t, sim, "")
	form := url.Values{"code": {strings.ToLower(p.Code)}, "X-Plex-Token": {sim.SignIn(alice, "sso")}, "X-Plex-Client-Identifier": {"sso"}}
	r, _ := http.NewRequest("PUT", sim.URL+"/api/v2/pins/link.json", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusNoContent || sim.PINs()[0].Account != "alice" {
		t.Errorf("got %d, want 204 and the PIN claimed", response.StatusCode)
	}
}

func TestPostalCodeIsAString(t *testing.T) {
	t.Parallel()
	sim, _, _ := start(t)
	for range 2 {
		body := device{clientIdentifier: "one"}.want(t, http.StatusCreated, "POST", sim.URL+"/api/v2/pins").(map[string]any)
		if got := body["location"].(map[string]any)["postal_code"]; got != "10115" {
			t.Errorf("got %#v, want a string", got)
		}
	}
}

func TestOpenPINsAreUnique(t *testing.T) {
	t.Parallel()
	sim, _, _ := start(t)
	codes := map[string]bool{}
	for range 300 {
		codes[device{clientIdentifier: "one", client: http.DefaultClient}.mint(t, sim, "").Code] = true
	}
	if len(codes) != 300 {
		t.Errorf("%d different PINs of 300", len(codes))
	}
}

func TestPINIsCollectedOnce(t *testing.T) {
	t.Parallel()
	sim, alice, _ := start(t)
	d := device{clientIdentifier: "one"}
	p := d.mint(t, sim, "")
	if err := sim.Link(" "+strings.ToLower(p.Code)+" ", alice); err != nil {
		t.Fatal(err)
	}
	if p := sim.PINs()[0]; p.Collected || p.Token == "" || p.Account != "alice" || p.ClaimedAt.IsZero() {
		t.Errorf("after the claim: %+v", p)
	}
	d.want(t, http.StatusOK, "GET", pinURL(sim, p))
	if !sim.PINs()[0].Collected {
		t.Error("the token was sent, the PIN is not marked as collected")
	}
}

func TestLinkByProgram(t *testing.T) {
	t.Parallel()
	sim, alice, _ := start(t)
	d := device{clientIdentifier: "one"}
	p := d.mint(t, sim, "")
	sso := device{clientIdentifier: "sso", token: sim.SignIn(alice, "sso")}
	target := sim.URL + "/api/v2/pins/link?code=" + url.QueryEscape(p.Code)
	device{clientIdentifier: "sso"}.want(t, http.StatusUnauthorized, "PUT", target)
	sso.want(t, http.StatusNoContent, "PUT", target)
	if code := errorCode(t, sso.want(t, http.StatusNotFound, "PUT", target)); code != 1020. {
		t.Errorf("code %v, want 1020", code)
	}
	d.token, _ = d.want(t, http.StatusOK, "GET", pinURL(sim, p)).(map[string]any)["authToken"].(string)
	user := d.want(t, http.StatusOK, "GET", sim.URL+"/api/v2/user").(map[string]any)
	if user["username"] != "alice" || user["uuid"] != alice.UUID {
		t.Errorf("linked to %v", user["username"])
	}
}

package plex

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"plexlink.dev/operator/internal/plex/plextest"
)

func TestCancellationIsNotAnOutage(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.link(t, h.owner)
	for call, c := range calls {
		ctx, cancel := context.WithCancel(t.Context())
		h.sim.Fault(plextest.Fault{Endpoint: c.endpoint, Delay: time.Minute})
		time.AfterFunc(10*time.Millisecond, cancel)
		if err := c.do(ctx, h, "1234"); !errors.Is(err, context.Canceled) || Classify(err) != ClassCanceled {
			t.Errorf("%s canceled: got %v, %s; want %v", call, err, Classify(err), context.Canceled)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
		h.sim.Fault(plextest.Fault{Endpoint: c.endpoint, Delay: time.Minute})
		if err := c.do(ctx, h, "1234"); !errors.Is(err, context.DeadlineExceeded) || Classify(err) != ClassUnavailable {
			t.Errorf("%s out of time: got %v, %s; want %v", call, err, Classify(err), ErrUnavailable)
		}
		cancel()
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// An entered PIN lives about ten seconds, so a poll that hangs must leave time for another one.
func TestAPollHasThreeSecondsAndOtherCallsHaveTen(t *testing.T) {
	t.Parallel()
	for call, c := range calls {
		want := 10 * time.Second
		if call == "pins.check" {
			want = 3 * time.Second
		}
		synctest.Test(t, func(t *testing.T) {
			client, err := NewClient(Options{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				return nil, r.Context().Err()
			})})
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			err = c.do(t.Context(), &home{client: client, token: "xXxX"}, "1234")
			if took := time.Since(start); took != want || Classify(err) != ClassUnavailable {
				t.Errorf("%s: got %v after %s, want %v after %s", call, err, took, ErrUnavailable, want)
			}
		})
	}
}

// plex.tv returns the token of an entered PIN for a few seconds only, so a shutdown must not discard one that arrived.
func TestACompleteAnswerCountsAfterCancellation(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	client, err := NewClient(Options{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		cancel()
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(`{"authToken":"xXxX"}`))}, nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	if token, err := client.CheckPIN(ctx, Device{}, "1234"); token.Reveal() != "xXxX" || err != nil {
		t.Errorf("got a token: %t, %v; want one", token != "", err)
	}
}

func TestEveryRequestHasTheOperatorsUserAgent(t *testing.T) {
	t.Parallel()
	endpoints := []plextest.Endpoint{
		plextest.CreatePIN, plextest.CheckPIN, plextest.User, plextest.Resources, plextest.Ping, plextest.SignOut,
		plextest.Identity, plextest.Sections,
	}
	for version, want := range map[string]string{"0.1.0": "PlexLink/0.1.0", "": "PlexLink"} {
		h := newHome(t)
		h.device.Version, h.device.Product = version, "Kometa"
		m := h.sim.AddServer(plextest.Server{Name: "Home", Owner: h.owner})
		h.link(t, h.owner)
		s := Server{MachineIdentifier: m.MachineIdentifier, AccessToken: h.token}
		h.prober.Prove(t.Context(), h.device, s, []Candidate{{URL: m.URL}})
		for _, call := range []string{"user", "resources", "ping", "signout"} {
			if err := calls[call].do(t.Context(), h, ""); err != nil {
				t.Errorf("%s: %v", call, err)
			}
		}
		for _, endpoint := range endpoints {
			if h.sim.Count(endpoint) == 0 {
				t.Errorf("%s: got no request, want one", endpoint)
			}
		}
		for _, r := range h.sim.Requests() {
			if got := r.Header.Get("User-Agent"); got != want {
				t.Errorf("%s with version %q: got User-Agent %q, want %q", r.Endpoint, version, got, want)
			}
		}
	}
}

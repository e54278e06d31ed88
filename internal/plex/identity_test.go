package plex

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"plexlink.dev/operator/internal/plex/plextest"
)

func TestReach(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		machine machine
		url     string
		limit   time.Duration
		want    Verdict
		took    time.Duration
	}{
		"this machine":     {machine{library: time.Hour}, "http://live", time.Hour, Proven, 0},
		"slow":             {machine{identity: 2 * time.Second}, "http://live", time.Hour, Proven, 2 * time.Second},
		"too slow":         {machine{identity: 4 * time.Second}, "http://live", time.Hour, Unreachable, 3 * time.Second},
		"dead":             {machine{}, "http://dead", time.Hour, Unreachable, 3 * time.Second},
		"another machine":  {machine{id: "other"}, "http://live", time.Hour, NotThisServer, 0},
		"unusable address": {machine{}, "live", time.Hour, Unreachable, 0},
		"context ended":    {machine{}, "http://dead", time.Second, NotAwaited, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &place{machines: map[string]machine{"http://live": tc.machine}, start: time.Now()}
				prober := Prober{Transport: p}
				ctx, cancel := context.WithTimeout(t.Context(), tc.limit)
				defer cancel()
				got := prober.Reach(ctx, Device{}, tc.url, "m")
				if took := time.Since(p.start); got != tc.want || took != tc.took || len(p.asked) > 1 || len(p.tokens) > 0 {
					t.Errorf("got %s after %s and %d requests; want %s after %s and at most one without a token", got, took, len(p.asked), tc.want, tc.took)
				}
			})
		})
	}
}

func TestReachSendsNothingThatIdentifiesTheDevice(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	m := h.sim.AddServer(plextest.Server{Name: "Home", Owner: h.owner, PathPrefix: "/plex"})
	if got := h.prober.Reach(t.Context(), h.device, m.URL, m.MachineIdentifier); got != Proven {
		t.Errorf("got %s, want %s", got, Proven)
	}
	for _, r := range h.sim.Requests() {
		if r.Endpoint != plextest.Identity || r.Token != "" || r.ClientIdentifier != "" || r.DeviceName != "" {
			t.Errorf("got the request %s with %v, want the identity without a device", r.Endpoint, r.Header)
		}
	}
}

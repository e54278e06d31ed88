package stories

import (
	"flag"
	"fmt"
	"net/http"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// A run of a minute cannot show how few requests are refused, because the operator learns the limit from the first refusals.
var limitedLinks = flag.Int("limited-links", 4, "number of PlexLinks linked while plex.tv allows 2 requests a second; "+
	"with 10 or more, the share of refused requests is checked")

func linksAreLinkedWhilePlexAllowsTwoRequestsASecond(t *testing.T) {
	for name, c := range map[string]struct {
		retryAfter  bool
		mostRefused float64
	}{
		"without Retry-After": {false, 0.05},
		"with Retry-After":    {true, 0.05},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.sim.Limit(plextest.Limit{PerSecond: 2, Burst: 2, RetryAfter: c.retryAfter})
			w.startOperator()
			began := time.Now()
			apart := 3 * time.Second
			if *limitedLinks >= 10 {
				apart = 18 * time.Second
			}
			linkOneAfterTheOther(w, *limitedLinks, apart)

			requests, refused := w.plexRequests(), 0
			for _, r := range requests {
				if r.Status == http.StatusTooManyRequests {
					refused++
				}
			}
			share := float64(refused) / float64(len(requests))
			t.Logf("%d links in %s: %d requests, %d (%.1f %%) refused", *limitedLinks, time.Since(began).Round(time.Second),
				len(requests), refused, 100*share)
			if refused == 0 {
				t.Error("got no refused requests, want the limit to be reached")
			}
			if *limitedLinks >= 10 && share >= c.mostRefused {
				t.Errorf("got %.1f %% of the requests refused, want less than %.0f %%", 100*share, 100*c.mostRefused)
			}
			pins := w.sim.PINs()
			if len(pins) != *limitedLinks {
				t.Errorf("got %d PINs for %d links, want one for each", len(pins), *limitedLinks)
			}
			for _, pin := range pins {
				if !pin.Collected {
					t.Errorf("the token of %s is lost", pin.DeviceName)
				}
			}
		})
	}
}

// linkOneAfterTheOther creates n links at once, enters one PIN at a time, and waits until all are linked.
func linkOneAfterTheOther(w *world, n int, apart time.Duration) {
	w.Helper()
	for i := range n {
		w.create(fmt.Sprintf("link-%03d", i))
	}
	entered, next := map[string]bool{}, time.Now().Add(apart)
	w.eventuallyWithin(time.Minute+time.Duration(n)*2*apart, "the last link", func() error {
		ready := 0
		for name, link := range w.links() {
			if meta.IsStatusConditionTrue(link.Status.Conditions, v1alpha1.ConditionReady) {
				ready++
			}
			if pin := link.Status.PIN; pin != nil && !entered[name] && time.Now().After(next) {
				entered[name], next = true, time.Now().Add(apart)
				if err := w.sim.Link(pin.Code, w.alice); err != nil {
					w.Error(err)
				}
			}
		}
		if ready < n {
			return fmt.Errorf("%d of %d are linked", ready, n)
		}
		return nil
	})
}

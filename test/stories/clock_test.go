package stories

import (
	"fmt"
	"testing"
	"time"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// reachesCount waits until an endpoint has received want requests since the last reset.
func (w *world) reachesCount(endpoint plextest.Endpoint, want int) {
	w.Helper()
	w.eventually(fmt.Sprintf("%d × %s", want, endpoint), func() error {
		if n := w.sim.Count(endpoint); n < want {
			return fmt.Errorf("got %d", n)
		}
		return nil
	})
}

// Fault B4: a clock that was ahead during one refresh stopped refresh and ping until it was caught up with.
func TestClockThatWasAheadOnceDelaysNeitherRefreshNorPing(t *testing.T) {
	t.Parallel()
	for name, restarted := range map[string]bool{"same process": false, "restarted": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := w.startOperator()
			w.linked("kometa")
			w.settled("kometa")
			w.sim.ResetRequests()
			const ahead = 56 * time.Hour
			w.advance(ahead)
			w.reachesCount(plextest.Resources, 1)
			w.reachesCount(plextest.Ping, 1)
			w.eventually("the status of the refresh", func() error {
				if last := w.link("kometa").Status.LastRefreshTime; last.Time.Before(time.Now().Add(ahead - time.Hour)) {
					return fmt.Errorf("got %s", last)
				}
				return nil
			})
			if restarted {
				o.stop()
			}
			w.clock.advance(-ahead)
			w.sim.ResetRequests()
			if restarted {
				w.startOperator()
			}
			// A time in the future is ignored: both are due at once, and later again.
			w.poke()
			w.reachesCount(plextest.Resources, 1)
			w.reachesCount(plextest.Ping, 1)
			for hour := range 12 {
				w.advance(70 * time.Minute)
				w.reachesCount(plextest.Resources, hour+2)
			}
			if pings, refreshes := w.sim.Count(plextest.Ping), w.sim.Count(plextest.Resources); pings != 1 || refreshes != 13 {
				t.Errorf("got %d pings and %d refreshes in 14 hours, want 1 and 13", pings, refreshes)
			}
			w.advance(11 * time.Hour)
			w.reachesCount(plextest.Ping, 2)
			w.sim.RevokeTokens(w.alice)
			w.advance(70 * time.Minute)
			w.reaches("kometa", v1alpha1.ReasonTokenRevoked)
			w.enterPINAs("kometa", w.alice)
			w.reaches("kometa", v1alpha1.ReasonLinked)
		})
	}
}

// Fault B4: a PIN minted while the clock was ahead was not polled until then. It ends when plex.tv says so.
func TestPINMintedByAClockThatWasAheadIsReplacedInTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wrong := &movingClock{}
	wrong.advance(56 * time.Hour)
	w.startOperator(func(o *operator) { o.reconciler.Clock = wrong })
	w.create("kometa")
	code := w.showsPIN("kometa")
	wrong.advance(-56 * time.Hour)
	w.sim.ResetRequests()
	w.reachesCount(plextest.CheckPIN, 2)
	w.clock.advance(15*time.Minute + time.Second)
	wrong.advance(15*time.Minute + time.Second)
	w.poke()
	w.showsAnotherPIN("kometa", code)
	w.enterPIN("kometa")
	w.reaches("kometa", v1alpha1.ReasonLinked)
}

package stories

import (
	"testing"
	"time"

	"plexlink.dev/operator/internal/plex/plextest"
)

func TestSignOutIsAttemptedWhateverTheClocksShow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.startOperator()
	w.linked("kometa")
	w.clock.advance(time.Hour) // The API server's clock, which sets deletionTimestamp, is an hour behind.
	if err := admin.Delete(t.Context(), w.link("kometa")); err != nil {
		t.Fatal(err)
	}
	w.hasEvent("SignedOut", "")

	w.linked("tautulli")
	o.kill()
	if err := admin.Delete(t.Context(), w.link("tautulli")); err != nil {
		t.Fatal(err)
	}
	w.clock.advance(time.Hour) // The operator was down during that time.
	w.startOperator()
	w.eventually("two sign-outs", func() error {
		if w.sim.Count(plextest.SignOut) < 2 {
			return errNotYet
		}
		return nil
	})
}

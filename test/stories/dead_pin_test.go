package stories

import (
	"testing"
	"time"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// Fault B5: a PIN for which plex.tv gave an unexpected answer after its expiration was polled forever.
func TestPINIsReplacedAMinuteAfterItsExpirationWhateverPlexTVAnswers(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]plextest.Fault{
		"404 with a page":  {Status: 404, Body: "<html>Not Found</html>"},
		"400":              {Status: 400},
		"410":              {Status: 410},
		"503":              {Status: 503},
		"no JSON":          {Status: 200, Body: "<html>"},
		"a cut connection": {Drop: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.startOperator()
			w.create("kometa")
			code := w.awaitsPIN("kometa").Status.PIN.Code
			fault.Endpoint, fault.Times = plextest.CheckPIN, -1
			w.sim.Fault(fault)
			w.clock.advance(15*time.Minute + 10*time.Second)
			w.sim.ResetRequests()
			for polls := range 2 { // It may still be a network failure.
				w.advance(20 * time.Second)
				w.reachesCount(plextest.CheckPIN, polls+1)
			}
			if n := len(w.sim.PINs()); n != 1 {
				t.Fatalf("got %d PINs within a minute after expiry, want one", n)
			}
			w.advance(15 * time.Second)
			w.showsAnotherPIN("kometa", code)
			if n := len(w.sim.PINs()); n != 2 {
				t.Errorf("got %d PINs, want two", n)
			}
			w.sim.ClearFaults()
			w.enterPIN("kometa")
			w.reaches("kometa", v1alpha1.ReasonLinked)
		})
	}
}

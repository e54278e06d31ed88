package stories

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// Fault B8: during a pause requested by plex.tv, the status went on asking for a PIN whose token would be lost.
func TestLongPauseIsReportedAndThePINIsNotShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.create("kometa")
	code := w.awaitsPIN("kometa").Status.PIN.Code
	w.sim.Fault(plextest.Fault{
		Endpoint: plextest.CheckPIN, Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"120"}},
	})
	began := w.clock.Now()
	link := w.reaches("kometa", v1alpha1.ReasonPlexUnavailable)
	if link.Status.PIN != nil {
		t.Error("got a PIN in the status during the pause, want none")
	}
	end, err := time.Parse("plex.tv asks for a pause until 15:04:05 UTC; do not enter the PIN before then", message(link))
	if err != nil {
		t.Fatalf("got the message %q: %v", message(link), err)
	}
	from, err := time.Parse(time.TimeOnly, began.UTC().Format(time.TimeOnly)) // Without a date, like the message.
	if err != nil {
		t.Fatal(err)
	}
	const day = 24 * time.Hour
	if pause := (end.Sub(from) + day) % day; pause < 115*time.Second || pause > 125*time.Second {
		t.Errorf("got the message %q at %s, want a pause of about two minutes", message(link), from.Format(time.TimeOnly))
	}

	w.sim.ResetRequests()
	w.clock.advance(100 * time.Second)
	w.poke()
	w.create("tautulli") // The operator had time to do something wrong.
	w.reaches("tautulli", v1alpha1.ReasonAwaitingLink)
	if requests := w.plexRequests(); len(requests) > 0 {
		t.Errorf("got %d requests during the pause, want none", len(requests))
	}
	w.clock.advance(20 * time.Second) // Only its own timer wakes the operator when the pause is over.
	if got := w.awaitsPIN("kometa").Status.PIN.Code; got != code {
		t.Error("got another PIN after the pause, want the same")
	}
	w.enterPIN("kometa")
	w.reaches("kometa", v1alpha1.ReasonLinked)
}

// The budget adapts to a limit that plex.tv does not announce.
func TestRateIsHalvedBy429AndRestoredOverMinutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.startOperator()
	w.create("kometa")
	w.awaitsPIN("kometa")
	rate := func() float64 {
		t.Helper()
		got, err := o.gauge("plexlink_plex_allowed_rate")
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := rate(); got != 5 {
		t.Fatalf("got %v requests/s at first, want 5", got)
	}
	// passes advances the time, during which a poll is answered with the status.
	passes := func(d time.Duration, status int) {
		t.Helper()
		if status != http.StatusOK {
			w.sim.Fault(plextest.Fault{Endpoint: plextest.CheckPIN, Status: status})
		}
		w.sim.ResetRequests()
		w.advance(d)
		w.eventually("a poll", func() error {
			for _, r := range w.sim.Requests() {
				if r.Endpoint == plextest.CheckPIN && r.Status == status {
					return nil
				}
			}
			return errNotYet
		})
	}
	for _, want := range []float64{2.5, 1.25, 0.625, 0.5, 0.5} { // The minimum is one request in two seconds.
		passes(6*time.Second, http.StatusTooManyRequests)
		w.eventually("another rate", func() error {
			if got := rate(); got > want {
				return fmt.Errorf("got %v requests/s, want %v", got, want)
			}
			return nil
		})
	}
	minutes := 0.0
	for rate() < 5 && minutes < 10 {
		passes(10*time.Second, http.StatusOK)
		minutes += 1. / 6
	}
	if minutes < 4 || minutes > 6 {
		t.Errorf("the rate was restored after %.1f minutes, want about 4.5", minutes)
	}
	w.enterPIN("kometa")
	w.reaches("kometa", v1alpha1.ReasonLinked)
}

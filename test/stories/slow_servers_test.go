package stories

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// pollCeiling is the longest time between two polls of an open PIN: an entered one lives for ten seconds.
const pollCeiling = 5 * time.Second

// dueLinks is the number of links due for a refresh, three for each worker.
const dueLinks = 60

// Fault B1: one poll that hung for ten seconds lost the token.
func TestPollThatHangsLosesNoToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.create("kometa")
	w.awaitsPIN("kometa")
	w.sim.Fault(plextest.Fault{Endpoint: plextest.CheckPIN, Delay: 15 * time.Second})
	w.eventually("a poll that hangs", func() error {
		if !slices.ContainsFunc(w.sim.Requests(), func(r plextest.Request) bool {
			return r.Endpoint == plextest.CheckPIN && r.Status == 0 && time.Since(r.Time) > 200*time.Millisecond
		}) {
			return errNotYet
		}
		return nil
	})
	w.enterPIN("kometa")
	w.reaches("kometa", v1alpha1.ReasonLinked)
	if pins := w.sim.PINs(); len(pins) != 1 || !pins[0].Collected {
		t.Errorf("got %d PINs, want one whose token was collected", len(pins))
	}
	if gap := w.longestGap("kometa"); gap > pollCeiling+loadSlack {
		t.Errorf("got %s between two polls, want at most %s", round(gap), pollCeiling)
	}
}

// Fault B2: hanging refreshes took all workers, and open PINs were polled only after 8 to 14 seconds.
func refreshesThatHangDelayNoPoll(t *testing.T) {
	w := newWorld(t)
	w.sim.AddServer(plextest.Server{Name: "Other Server", Owner: w.alice})
	w.linkAtOnce(dueLinks, func(l *v1alpha1.PlexLink) { l.Spec.Server.Name = "My Plex Server" })
	hang := func(r *http.Request) error {
		if strings.HasSuffix(r.URL.Path, "/resources") && strings.HasPrefix(r.Header.Get("X-Plex-Device-Name"), "link-") {
			<-r.Context().Done()
			return r.Context().Err()
		}
		return nil
	}
	for _, c := range []struct {
		what  string
		begin func(*operator)
		hung  func() int // the number of requests that have hung
	}{
		{"resources", func(o *operator) { o.fail = hang }, func() int {
			return w.operators[len(w.operators)-1].count(http.MethodGet, "/resources")
		}},
		{"libraries", func(*operator) {
			w.sim.Fault(plextest.Fault{Endpoint: plextest.Sections, Server: "My Plex Server", Delay: 15 * time.Second, Times: -1})
		}, func() int { return w.sim.Count(plextest.Sections) }},
	} {
		w.clock.advance(70 * time.Minute) // All refreshes are due, and nothing else.
		w.sim.ResetRequests()
		o := w.startOperator(c.begin)
		began := time.Now()
		w.create(c.what, func(l *v1alpha1.PlexLink) { l.Spec.Server.Name = "Other Server" })
		w.awaitsPIN(c.what)
		if took := time.Since(began); took > 5*time.Second+loadSlack {
			t.Errorf("%s hang: got a PIN after %s, want at most 5s", c.what, round(took))
		}
		w.eventually("ten seconds of polls while "+c.what+" hang", func() error {
			if gap := w.longestGap(c.what); gap > pollCeiling {
				t.Fatalf("%s hang: got %s between two polls, want at most %s", c.what, round(gap), pollCeiling)
			}
			if hung := c.hung(); time.Since(began) < 10*time.Second || hung < 5 {
				return fmt.Errorf("%d requests hang", hung)
			}
			return nil
		})
		w.enterPIN(c.what)
		w.reaches(c.what, v1alpha1.ReasonLinked)
		if gap := w.longestGap(c.what); gap > pollCeiling {
			t.Errorf("%s hang: got %s between two polls, want at most %s", c.what, round(gap), pollCeiling)
		}
		o.stop()
		w.sim.ClearFaults()
	}
	if pins := w.sim.PINs(); len(pins) != dueLinks+2 {
		t.Errorf("got %d PINs, want one for each of %d links", len(pins), dueLinks+2)
	}
}

// Fault B3: the PIN of a relink was polled at the priority of refreshes.
func pinOfARelinkIsPolledBeforeRefreshes(t *testing.T) {
	w := newWorld(t)
	w.linkAtOnce(dueLinks)
	const again = "link-0000"
	old := w.accountToken(again)
	w.clock.advance(70 * time.Minute)
	w.sim.ResetRequests()
	// Each reconcile of the others takes a worker three seconds, so the workers are busy for nine.
	var slow atomic.Bool
	w.startOperator(func(o *operator) {
		o.fail = func(r *http.Request) error {
			if slow.Load() && r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/secrets/link-") && !strings.Contains(r.URL.Path, again) {
				select {
				case <-r.Context().Done():
				case <-time.After(3 * time.Second):
				}
			}
			return nil
		}
	})
	w.request(again, v1alpha1.LinkRequestedAtAnnotation)
	pin := w.showsPIN(again)
	slow.Store(true)
	w.poke()
	w.polls(4)
	if err := w.sim.Link(pin, w.alice); err != nil {
		t.Fatal(err)
	}
	w.eventually("the new token", func() error {
		if w.accountToken(again) == old {
			return errNotYet
		}
		return nil
	})
	gap := w.longestGap(again)
	if gap > pollCeiling {
		t.Errorf("got %s between two polls, want at most %s", round(gap), pollCeiling)
	}
	t.Logf("the longest time between two polls was %s", round(gap))
}

// A shutdown during a check was reported as a failure of the server.
func TestShutdownDuringARefreshReportsNoProblem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	w.sim.ResetRequests()
	w.sim.Fault(plextest.Fault{Endpoint: plextest.Sections, Delay: 15 * time.Second})
	w.advance(70 * time.Minute)
	w.eventually("a check that hangs", func() error {
		if w.sim.Count(plextest.Sections) == 0 {
			return errNotYet
		}
		return nil
	})
	o.stop()
	if state := string(w.secret("kometa-plexlink-device").Data[keyState]); strings.Contains(state, `"problem"`) {
		t.Errorf("got the state %s, want no problem in it", state)
	}
	w.sim.ClearFaults()
	w.startOperator()
	w.settled("kometa")
}

// longestGap returns the longest time the last PIN of a link went without a poll, from its creation until its token was
// collected, or until now.
func (w *world) longestGap(name string) time.Duration {
	w.Helper()
	device := name + " (" + w.namespace + ")"
	pins := w.sim.PINs()
	slices.Reverse(pins)
	i := slices.IndexFunc(pins, func(p plextest.PIN) bool { return p.DeviceName == device })
	if i < 0 {
		w.Fatalf("%s has no PIN", name)
	}
	times := []time.Time{pins[i].CreatedAt}
	for _, r := range w.sim.Requests() {
		if r.Endpoint == plextest.CheckPIN && r.DeviceName == device && r.Time.After(pins[i].CreatedAt) {
			times = append(times, r.Time)
		}
	}
	if !pins[i].Collected {
		times = append(times, w.clock.Now())
	}
	longest := time.Duration(0)
	for n := 1; n < len(times); n++ {
		longest = max(longest, times[n].Sub(times[n-1]))
	}
	return longest
}

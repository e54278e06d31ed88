package stories

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// identities returns the number of requests for the identity of a server.
func (w *world) identities() int { return w.sim.Count(plextest.Identity) }

// serverEvents returns the reasons of the events of a link about its server.
func (w *world) serverEvents(name string) (list []string) {
	w.Helper()
	for _, e := range w.events() {
		if e.Regarding.Name == name && (e.Reason == v1alpha1.ReasonServerUnreachable || e.Reason == v1alpha1.ReasonProven) {
			list = append(list, e.Reason)
		}
	}
	return list
}

// Fault C1: it took an hour to notice that a server was off or had moved.
func TestServerThatIsOffOrBackIsReportedWithinMinutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	before := w.secret("kometa").ResourceVersion
	w.server.Stop()
	off := w.clock.Now()
	w.eventuallyWithin(60*time.Second, "the condition ServerResolved False", func() error {
		if c := w.resolved("kometa"); c.Status != "False" {
			w.clock.advance(150 * time.Millisecond) // About ten times real time.
			return fmt.Errorf("got %s", c.Status)
		}
		return nil
	})
	if took := w.clock.Since(off); took > 150*time.Second {
		t.Errorf("got ServerResolved False after %s, want 2.5 minutes at most", took)
	}
	w.ready("kometa", true, "the last check failed, and the Secret is left unchanged")

	w.server.Start()
	on := w.clock.Now()
	w.eventuallyWithin(60*time.Second, "the condition ServerResolved True", func() error {
		if c := w.resolved("kometa"); c.Status != "True" {
			w.clock.advance(150 * time.Millisecond) // About ten times real time.
			return errors.New(c.Message)
		}
		return nil
	})
	if took := w.clock.Since(on); took > 90*time.Second {
		t.Errorf("got ServerResolved True after %s, want 1.5 minutes at most", took)
	}
	w.eventually("one event each way", func() error {
		if got := strings.Join(w.serverEvents("kometa"), " "); len(strings.Fields(got)) != 2 {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
	if got := w.secret("kometa").ResourceVersion; got != before {
		t.Error("the Secret changed, want it unchanged")
	}
}

func TestServerThatMovesIsFoundWithinMinutesAndPlexIsAskedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.network.Listeners["192.168.1.100:32400"] = w.server.Addr
	w.server.SetConnections(plextest.LocalConnection("http://192.168.1.100:32400"))
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	w.network.Update(func() {
		// The old machine refuses connections: time-outs are in real time, and the clock runs faster here.
		delete(w.network.Listeners, "192.168.1.100:32400")
		w.network.Listeners["192.168.1.100:1"] = w.server.Addr
		w.network.Listeners["192.168.1.101:32400"] = w.server.Addr
	})
	w.server.SetConnections(plextest.LocalConnection("http://192.168.1.101:32400"))
	w.sim.ResetRequests()
	moved := w.clock.Now()
	w.eventuallyWithin(60*time.Second, "the new address", func() error {
		if got := string(w.secret("kometa").Data["PLEX_URL"]); got != "http://192.168.1.101:32400" {
			w.clock.advance(150 * time.Millisecond) // About ten times real time.
			return errors.New(got)
		}
		return nil
	})
	if took := w.clock.Since(moved); took > 150*time.Second {
		t.Errorf("got the new address after %s, want 2.5 minutes at most", took)
	}
	w.settled("kometa")
	if n := w.sim.Count(plextest.Resources); n != 1 {
		t.Errorf("got %d requests for the resources, want one", n)
	}
}

func TestManyLinksOnOneServerCostOneCheckAMinuteAndNoRead(t *testing.T) {
	t.Parallel()
	const links = 10
	w := newWorld(t)
	o := w.startOperator()
	for i := range links {
		w.linked(fmt.Sprintf("link-%d", i))
	}
	for i := range links {
		w.settled(fmt.Sprintf("link-%d", i))
	}
	w.sim.ResetRequests()
	o.forgetRequests()
	for minute := 1; minute <= 5; minute++ {
		w.clock.advance(64 * time.Second) // The interval and its jitter.
		w.eventually("a check", func() error {
			if n := w.identities(); n < minute {
				return fmt.Errorf("got %d", n)
			}
			return nil
		})
	}
	if n := w.identities(); n > 6 {
		t.Errorf("got %d checks in five minutes, want one a minute", n)
	}
	if got := o.requests(); len(got) != 0 {
		t.Errorf("got the requests %v, want none", got)
	}
	for _, r := range w.sim.Requests() {
		if agent := r.Header.Get("User-Agent"); r.Token != "" || agent != "PlexLink/test" {
			t.Errorf("got a request to %s with a token (%t) and User-Agent %q, want none and PlexLink's", r.Endpoint, r.Token != "", agent)
		}
	}
}

package stories

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

func TestRefreshAsksPlexOnceAndKeepsTheAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	before := w.linked("kometa")
	w.settled("kometa")
	resourceVersion := w.secret("kometa").ResourceVersion
	w.sim.ResetRequests()

	w.advance(50 * time.Minute)
	w.settled("kometa")
	if n := len(w.plexRequests()); n != 0 {
		t.Errorf("got %d requests to plex.tv before a refresh was due, want none", n)
	}
	w.advance(20 * time.Minute)
	w.eventually("a refresh", func() error {
		if !w.link("kometa").Status.LastRefreshTime.After(before.Status.LastRefreshTime.Time) {
			return errors.New("lastRefreshTime is unchanged")
		}
		return nil
	})
	if got := w.plexRequests(); len(got) != 1 || got[0].Endpoint != plextest.Resources {
		t.Errorf("got %d requests to plex.tv for the refresh, want one for the resources", len(got))
	}
	if w.secret("kometa").ResourceVersion != resourceVersion {
		t.Error("the Secret changed, want it unchanged")
	}
}

func TestMovedServerIsFoundAndTheURLIsStickyOtherwise(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.network.Listeners = map[string]string{"192.168.1.100:32400": w.server.Addr, "192.168.1.101:32400": w.server.Addr}
	w.server.SetConnections(plextest.LocalConnection("http://192.168.1.101:32400"))
	w.startOperator()
	w.linked("kometa")

	// A better address alone is no reason to change.
	w.server.SetConnections(plextest.LocalConnection("http://192.168.1.100:32400"), plextest.LocalConnection("http://192.168.1.101:32400"))
	w.refresh("kometa")
	if got := string(w.secret("kometa").Data["PLEX_URL"]); got != "http://192.168.1.101:32400" {
		t.Errorf("the URL changed to %s while the old one works", got)
	}

	w.network.Update(func() { delete(w.network.Listeners, "192.168.1.101:32400") })
	w.advance(70 * time.Minute)
	w.eventually("the new address", func() error {
		if got := string(w.secret("kometa").Data["PLEX_URL"]); got != "http://192.168.1.100:32400" {
			return errors.New("got " + got)
		}
		return nil
	})
	w.hasEvent("ServerChosen", "http://192.168.1.100:32400")
}

func TestOutagesLeaveAGoodLinkReady(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	resourceVersion := w.secret("kometa").ResourceVersion
	for name, outage := range map[string]func(){
		"plex.tv returns 503":        func() { w.sim.Fault(plextest.Fault{Endpoint: plextest.Resources, Status: 503, Times: -1}) },
		"plex.tv blocks the address": func() { w.sim.Fault(plextest.Fault{Endpoint: plextest.Resources, Status: 401, Code: 1031, Times: -1}) },
		"the server is down":         w.server.Stop,
	} {
		outage()
		w.advance(70 * time.Minute)
		w.eventually(name+" in the condition", func() error {
			link := w.link("kometa")
			if !meta.IsStatusConditionTrue(link.Status.Conditions, v1alpha1.ConditionReady) {
				t.Fatalf("%s: the link is not Ready: %s", name, message(link))
			}
			if !meta.IsStatusConditionFalse(link.Status.Conditions, v1alpha1.ConditionServerResolved) || !strings.Contains(message(link), "last check failed") {
				return errors.New(message(link))
			}
			return nil
		})
		w.sim.ClearFaults()
		w.server.Start()
		w.advance(70 * time.Minute)
		w.eventually("recovery", func() error {
			if strings.Contains(message(w.link("kometa")), "last check failed") {
				return errors.New(message(w.link("kometa")))
			}
			return nil
		})
	}
	if w.secret("kometa").ResourceVersion != resourceVersion {
		t.Error("the Secret changed, want it unchanged")
	}
}

func TestTokenIsPingedDailyByTheSameDevice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	w.advance(25 * time.Hour)
	w.eventually("a ping", func() error {
		if n := w.sim.Count(plextest.Ping); n != 1 {
			return fmt.Errorf("got %d pings", n)
		}
		return nil
	})
	w.refresh("kometa")
	if n := w.sim.Count(plextest.Ping); n != 1 {
		t.Errorf("got %d pings in a day, want one", n)
	}
	client := w.sim.PINs()[0].ClientIdentifier
	for _, r := range w.plexRequests() {
		if r.ClientIdentifier != client {
			t.Errorf("%s: got another client identifier, want the same for all requests", r.Endpoint)
		}
	}
}

func TestRestartSendsNoRequestThatIsNotDue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	first.stop()
	w.sim.ResetRequests()
	w.startOperator()
	w.poke()
	w.settled("kometa")
	if n := len(w.plexRequests()); n != 0 {
		t.Errorf("got %d requests after the restart, want none", n)
	}
}

func TestRevokedTokenIsReplacedAndTheOldSecretStaysUntilThen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	old := w.secret("kometa")
	w.sim.RevokeTokens(w.alice)
	w.advance(70 * time.Minute)
	w.reaches("kometa", v1alpha1.ReasonTokenRevoked)
	pin := w.showsPIN("kometa")
	w.hasEvent(v1alpha1.ReasonTokenRevoked, "signed this device out")
	if got := w.secret("kometa"); got == nil || got.ResourceVersion != old.ResourceVersion {
		t.Error("the old Secret changed, want it kept")
	}
	if err := w.sim.Link(pin, w.alice); err != nil {
		t.Fatal(err)
	}
	w.reaches("kometa", v1alpha1.ReasonLinked)
	checkSecretOpensServer(t, w.secret("kometa"))
	if pins := w.sim.PINs(); len(pins) != 2 || pins[0].ClientIdentifier != pins[1].ClientIdentifier {
		t.Errorf("got %d PINs, want two of one device", len(pins))
	}
}

func TestClockThatIsAnHourOffChangesNothing(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			wrong := &movingClock{}
			wrong.advance(off)
			w.startOperator(func(o *operator) { o.reconciler.Clock = wrong })
			w.linked("kometa")
			if n := len(w.sim.PINs()); n != 1 {
				t.Errorf("got %d PINs, want one", n)
			}
		})
	}
}

// plexRequests returns the requests plex.tv received.
func (w *world) plexRequests() []plextest.Request {
	var requests []plextest.Request
	for _, r := range w.sim.Requests() {
		if r.Server == "plex.tv" {
			requests = append(requests, r)
		}
	}
	return requests
}

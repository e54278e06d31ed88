package stories

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// ready waits until the Ready condition has the status want and a message containing text.
func (w *world) ready(name string, want bool, text string) {
	w.Helper()
	w.eventually(fmt.Sprintf("Ready %t of %s: %s", want, name, text), func() error {
		link := w.link(name)
		if meta.IsStatusConditionTrue(link.Status.Conditions, v1alpha1.ConditionReady) != want || !strings.Contains(message(link), text) {
			return errors.New(message(link))
		}
		return nil
	})
}

// Fault C2: one failed check moved the link from https to http permanently.
func TestOneFailedCheckMovesNothingAndTheBetterAddressComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	name := w.server.DirectName("192.168.1.100")
	w.network.Listeners["192.168.1.100:32400"] = w.server.Addr
	w.network.Hosts[name] = "192.168.1.100"
	w.server.SetConnections(plextest.LocalConnection("https://" + name + ":32400"))
	w.startOperator()
	w.linked("kometa")
	https := "https://" + name + ":32400"
	w.urlIs("kometa", https)
	before := w.secret("kometa").ResourceVersion

	w.network.Update(func() { delete(w.network.Hosts, name) })
	w.advance(70 * time.Minute)
	w.ready("kometa", true, "does not answer at "+https+" but at http://192.168.1.100:32400; checking again before the Secret changes")
	w.network.Update(func() { w.network.Hosts[name] = "192.168.1.100" })
	w.advance(61 * time.Second)
	w.eventually("ServerResolved to be True", func() error {
		if c := w.resolved("kometa"); c.Status != "True" {
			return errors.New(c.Message)
		}
		return nil
	})
	if got := w.secret("kometa").ResourceVersion; got != before {
		t.Error("the Secret changed after one failed check, want it unchanged")
	}

	w.network.Update(func() { delete(w.network.Hosts, name) })
	w.advance(70 * time.Minute)
	w.ready("kometa", true, "checking again before the Secret changes")
	w.advance(61 * time.Second)
	w.urlIs("kometa", "http://192.168.1.100:32400")
	w.network.Update(func() { w.network.Hosts[name] = "192.168.1.100" })
	w.refresh("kometa")
	w.urlIs("kometa", https)
}

// Fault C4: the link stayed Ready after its share was withdrawn or its server refused the token.
func TestDefiniteProblemMakesReadyFalseAfterTwoChecksAndKeepsTheSecret(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		no, yes func(*world)
		reason  string
		text    string
	}{
		"the share is withdrawn": {
			no: func(w *world) {
				w.server.Update(func(s *plextest.Server) { s.SharedWith = nil })
			},
			yes: func(w *world) {
				w.server.Update(func(s *plextest.Server) { s.SharedWith = []*plextest.Account{w.alice} })
			},
			reason: v1alpha1.ReasonServerNotFound,
			text:   "The account has no Plex Media Server",
		},
		"the server refuses the token": {
			no: func(w *world) {
				w.sim.Fault(plextest.Fault{Endpoint: plextest.Sections, Status: http.StatusUnauthorized, Times: -1})
			},
			yes:    func(w *world) { w.sim.ClearFaults() },
			reason: v1alpha1.ReasonTokenRejected,
			text:   "My Plex Server does not accept the token",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			bob := w.sim.AddAccount("bob")
			w.server.Update(func(s *plextest.Server) { s.Owner, s.SharedWith = bob, []*plextest.Account{w.alice} })
			w.startOperator()
			w.linked("kometa")
			w.settled("kometa")
			before := w.secret("kometa").ResourceVersion

			row.no(w)
			w.advance(70 * time.Minute)
			w.ready("kometa", true, "the last check failed, and the Secret is left unchanged")
			w.advance(61 * time.Second)
			link := w.reaches("kometa", row.reason)
			if !strings.Contains(message(link), row.text) || !strings.Contains(message(link), "Secret kometa is left unchanged") {
				t.Errorf("got the message %q, want %q", message(link), row.text)
			}
			w.hasEvent(row.reason, row.text)
			if got := w.secret("kometa").ResourceVersion; got != before {
				t.Error("the Secret changed, want it kept")
			}
			// An outage changes nothing.
			w.sim.Fault(plextest.Fault{Endpoint: plextest.Resources, Status: 503, Times: 1})
			w.advance(70 * time.Minute)
			w.eventually("the fault", func() error {
				if w.sim.Count(plextest.Resources) < 4 {
					return errNotYet
				}
				return nil
			})
			w.reaches("kometa", row.reason)

			row.yes(w)
			w.advance(70 * time.Minute)
			w.ready("kometa", true, "")
			w.settled("kometa")
			if got := w.secret("kometa").ResourceVersion; got != before {
				t.Error("the Secret changed, want it unchanged")
			}
		})
	}
}

// Fault C5: a reinstalled server was never found.
func TestReinstalledServerReplacesADeadOneAfterADay(t *testing.T) {
	t.Parallel()
	for name, named := range map[string]bool{"spec.server.name": true, "no spec.server.name": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.startOperator()
			w.linked("kometa", func(l *v1alpha1.PlexLink) {
				if named {
					l.Spec.Server.Name = "My Plex Server"
				}
			})
			w.settled("kometa")
			w.server.Stop()
			w.advance(70 * time.Minute)
			w.ready("kometa", true, "the last check failed")
			w.sim.AddServer(plextest.Server{Name: "my plex server", MachineIdentifier: "anew", Owner: w.alice})
			w.advance(70 * time.Minute)
			w.ready("kometa", true, "the last check failed")
			w.advance(25 * time.Hour)
			if !named {
				w.ready("kometa", true, "the last check failed")
				return
			}
			w.eventually("the new server", func() error {
				if sv := w.link("kometa").Status.Server; sv.MachineIdentifier != "anew" {
					return errors.New(sv.MachineIdentifier)
				}
				return nil
			})
			w.hasEvent("ServerReplaced", "which was reinstalled under that name")
			w.ready("kometa", true, "")
		})
	}
}

// Fault C10: a link whose token plex.tv refuses without calling it invalid stayed Linked for weeks.
func TestTokenThatIsRefusedForADayIsNotReady(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, 498} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.startOperator()
			w.linked("kometa")
			w.settled("kometa")
			before := w.secret("kometa").ResourceVersion
			for _, endpoint := range []plextest.Endpoint{plextest.Resources, plextest.Ping} {
				w.sim.Fault(plextest.Fault{Endpoint: endpoint, Status: status, Code: 1000, Times: -1})
			}
			w.advance(70 * time.Minute)
			w.ready("kometa", true, "plex.tv is refusing the token without calling it invalid")
			w.advance(20 * time.Hour)
			w.ready("kometa", true, "plex.tv is refusing the token")
			w.advance(5 * time.Hour)
			link := w.reaches("kometa", v1alpha1.ReasonTokenRejected)
			if !strings.Contains(message(link), "plex.tv has refused the token since 20") || !strings.Contains(message(link), "to link again, run: kubectl annotate") {
				t.Errorf("got the message %q, want the time of the first refusal and the command", message(link))
			}
			if got := w.secret("kometa").ResourceVersion; got != before {
				t.Error("the Secret changed, want it kept")
			}
			w.sim.ClearFaults()
			w.advance(70 * time.Minute)
			w.ready("kometa", true, "")
		})
	}
}

package stories

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

func TestRefusedClaimShowsThePINAndIsNotRepeated(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			first := w.startOperator()
			w.linked("kometa", allowsLinkRefs)
			w.sim.Fault(plextest.Fault{Endpoint: plextest.LinkPIN, Status: status, Times: -1})
			w.create("tautulli", refersTo("kometa"))
			code := w.awaitsPIN("tautulli").Status.PIN.Code
			want := fmt.Sprintf("plex.tv did not accept this PIN from PlexLink kometa (HTTP %d), so a person has to enter it; Enter %s at ", status, code)
			if got := message(w.link("tautulli")); !strings.HasPrefix(got, want) {
				t.Errorf("got the message %q, want %q", got, want)
			}
			w.hasEvent("ClaimRefused", code)
			first.kill()
			w.startOperator()
			polls := w.sim.Count(plextest.CheckPIN)
			w.eventually("polls by the second operator", func() error {
				if w.sim.Count(plextest.CheckPIN) < polls+3 {
					return errNotYet
				}
				return nil
			})
			if n := w.sim.Count(plextest.LinkPIN); n != 1 {
				t.Errorf("got %d claims, want one", n)
			}
			bob := w.sim.AddAccount("bob")
			w.enterPINAs("tautulli", bob)
			w.showsAnotherPIN("tautulli", code)
			if got := message(w.link("tautulli")); !strings.Contains(got, "bob entered the PIN, but spec.account asks for the account of PlexLink kometa") {
				t.Errorf("got the message %q, want bob named as the wrong account", got)
			}
			w.enterPINAs("tautulli", w.alice)
			w.areLinked("kometa", "tautulli")
			if n := w.sim.Count(plextest.LinkPIN); n != 2 {
				t.Errorf("got %d claims, want one for each PIN", n)
			}
		})
	}
}

func TestClaimThatFailsIsRepeatedWithoutAPerson(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		fault  plextest.Fault
		claims int
	}{
		"plex.tv is down":             {plextest.Fault{Status: http.StatusBadGateway, Times: 2}, 3},
		"an outage that answers 404":  {plextest.Fault{Status: http.StatusNotFound, Body: " ", Times: 2}, 3},
		"the connection breaks":       {plextest.Fault{Drop: true}, 2},
		"the answer to it is lost":    {plextest.Fault{DropAnswer: true}, 1},
		"plex.tv wants fewer of them": {plextest.Fault{Status: http.StatusTooManyRequests}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.startOperator()
			w.linked("kometa", allowsLinkRefs)
			row.fault.Endpoint = plextest.LinkPIN
			w.sim.Fault(row.fault)
			links := w.recordLinks()
			w.create("tautulli", refersTo("kometa"))
			w.areLinked("kometa", "tautulli")
			if n, pins := w.sim.Count(plextest.LinkPIN), len(w.sim.PINs()); n != row.claims || pins != 2 {
				t.Errorf("got %d claims and %d PINs, want %d and one for each link", n, pins, row.claims)
			}
			checkNeverShowsPIN(w, links, "tautulli")
		})
	}
}

// checkNeverShowsPIN checks that no version of a link had a PIN in its status.
func checkNeverShowsPIN(w *world, links *recording[*v1alpha1.PlexLink], name string) {
	w.Helper()
	_, versions := links.of(name)
	for _, link := range versions {
		if link.Status.PIN != nil {
			w.Errorf("%s showed a PIN, want none: %s", name, message(link))
		}
	}
}

func TestClaimThatPlexNeverAnswersEndsWithAPINForAPerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa", allowsLinkRefs)
	w.sim.Fault(plextest.Fault{Endpoint: plextest.LinkPIN, Status: http.StatusInternalServerError, Times: -1})
	w.create("tautulli", refersTo("kometa"))
	w.eventually("two claims", func() error {
		if w.sim.Count(plextest.LinkPIN) < 2 {
			return errNotYet
		}
		return nil
	})
	w.eventually("a PIN", func() error {
		w.advance(20 * time.Second)
		if w.link("tautulli").Status.PIN == nil {
			return errNotYet
		}
		return nil
	})
	if got := message(w.link("tautulli")); !strings.Contains(got, "PlexLink kometa (no proper answer)") {
		t.Errorf("got the message %q, want the reason for showing the PIN", got)
	}
	w.enterPINAs("tautulli", w.alice)
	w.areLinked("kometa", "tautulli")
}

func TestFollowerWhoseLeaderWasRevokedUnnoticedGivesItsPINBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa", allowsLinkRefs)
	w.sim.RevokeTokens(w.alice)
	w.create("tautulli", refersTo("kometa"))
	w.awaitAccount("kometa", "tautulli")
	w.enterPINAs("kometa", w.alice)
	w.areLinked("kometa", "tautulli")
	if n := w.sim.Count(plextest.LinkPIN); n != 2 {
		t.Errorf("got %d claims, want one with each token", n)
	}
}

// isOf returns an error unless the status of a link shows the account.
func (w *world) isOf(name string, want *plextest.Account) error {
	if got := w.link(name).Status.Account; got == nil || got.Username != want.Username {
		return fmt.Errorf("got %+v", got)
	}
	return nil
}

func TestFollowersMoveWithTheAccountOfTheirLeader(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.sim.AddAccount("bob")
	w.server.Update(func(s *plextest.Server) { s.SharedWith = []*plextest.Account{bob} })
	w.startOperator()
	w.linked("kometa", allowsLinkRefs)
	w.create("tautulli", refersTo("kometa"))
	w.areLinked("kometa", "tautulli")
	before := w.accountToken("tautulli")
	w.request("tautulli", v1alpha1.LinkRequestedAtAnnotation) // Only this link gets a new token.
	w.eventually("another token", func() error {
		if w.accountToken("tautulli") == before {
			return errNotYet
		}
		return nil
	})
	w.areLinked("kometa", "tautulli")
	w.request("kometa", v1alpha1.LinkRequestedAtAnnotation)
	w.enterPINAs("kometa", bob)
	w.eventually("bob's account", func() error { return w.isOf("tautulli", bob) })
	w.areLinked("kometa", "tautulli")
}

func TestFollowersMoveThoughTheStateOfTheirLeaderWasNotKnownWhenTheyLooked(t *testing.T) {
	t.Parallel()
	for name, restarts := range map[string]bool{"a newer one was being stored": false, "it was being read after a restart": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			bob := w.sim.AddAccount("bob")
			w.server.Update(func(s *plextest.Server) { s.SharedWith = []*plextest.Account{bob} })
			ofFollower := func(r *http.Request) bool { return strings.HasPrefix(r.Header.Get("X-Plex-Device-Name"), "tautulli") }
			ofState := func(r *http.Request, method string) bool {
				return r.Method == method && strings.HasSuffix(r.URL.Path, "/secrets/kometa-plexlink-device")
			}
			var moving, refreshing, storing, looked atomic.Bool
			first := w.startOperator(func(o *operator) {
				if restarts {
					o.diesBefore = func(r *http.Request) bool {
						return moving.Load() && ofFollower(r) && waitFor(time.Minute, func() error { return w.isOf("kometa", bob) }) == nil
					}
					return
				}
				o.fail = holds(func(r *http.Request) bool { // So that the follower looks again only when that state is being stored.
					if !moving.Load() || looked.Load() {
						return false
					}
					if ofState(r, http.MethodPatch) && w.isOf("kometa", bob) == nil {
						storing.Store(true)
						return true
					}
					refreshing.Store(refreshing.Load() || ofFollower(r))
					return ofFollower(r) && !storing.Load()
				})
			})
			w.linked("kometa", allowsLinkRefs)
			w.create("tautulli", refersTo("kometa"))
			w.areLinked("kometa", "tautulli")
			w.request("kometa", v1alpha1.LinkRequestedAtAnnotation)
			w.showsPIN("kometa")
			moving.Store(true)
			if restarts {
				w.enterPINAs("kometa", bob)
				<-first.died
				first.kill()
				w.startOperator(func(o *operator) {
					o.fail = holds(func(r *http.Request) bool { return ofState(r, http.MethodGet) && !looked.Load() })
				})
			} else {
				w.annotate("tautulli", v1alpha1.RefreshRequestedAtAnnotation, "first")
				w.eventually("the refresh to begin", func() error {
					if !refreshing.Load() {
						return errNotYet
					}
					return nil
				})
				w.enterPINAs("kometa", bob)
				w.handlesRefresh("tautulli", "first")
			}
			w.annotate("tautulli", v1alpha1.RefreshRequestedAtAnnotation, "second")
			w.eventually("the follower to look", func() error {
				status := w.link("tautulli").Status
				ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
				if status.LastHandledRefreshRequest != "second" && ready.Reason != v1alpha1.ReasonAwaitingAccount {
					return errors.New(ready.Message)
				}
				return nil
			})
			looked.Store(true)
			w.eventually("bob's account", func() error { return w.isOf("tautulli", bob) })
			w.areLinked("kometa", "tautulli")
		})
	}
}

// holds returns a hook of an operator that holds a request while a condition is true.
func holds(condition func(*http.Request) bool) func(*http.Request) error {
	return func(r *http.Request) error {
		return waitFor(time.Minute, func() error {
			if condition(r) {
				return errNotYet
			}
			return nil
		})
	}
}

// linkFollower links kometa and has tautulli follow it. The operator is killed before the request with the given number,
// counted from the one for the follower's PIN on; requests counts them.
func (w *world) linkFollower(killedBefore int64) (o *operator, requests *atomic.Int64) {
	w.Helper()
	var armed atomic.Bool
	requests = &atomic.Int64{}
	o = w.startOperator(func(o *operator) {
		o.diesBefore = func(r *http.Request) bool {
			createsPIN := r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/api/v2/pins")
			if !armed.Load() || requests.Load() == 0 && !createsPIN {
				return false
			}
			writes := r.Method != http.MethodGet && strings.Contains(r.URL.Path, "/"+w.namespace+"/") && !strings.HasSuffix(r.URL.Path, "/events")
			return (writes || strings.Contains(r.URL.Path, "/api/v2/")) && requests.Add(1) == killedBefore
		}
	})
	w.linked("kometa", allowsLinkRefs)
	w.settled("kometa")
	armed.Store(true)
	w.create("tautulli", refersTo("kometa"))
	return o, requests
}

func TestKillAtEachInstantOfAFollowersLinkingLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, requests := w.linkFollower(0)
	w.areLinked("tautulli")
	w.settled("tautulli")
	instants := requests.Load()
	if instants < 9 || instants > 20 {
		t.Fatalf("got %d requests to link a follower, want 9 to 20", instants)
	}
	t.Logf("%d instants", instants)
	for instant := int64(1); instant <= instants; instant++ {
		t.Run(fmt.Sprint(instant), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			links := w.recordLinks()
			first, _ := w.linkFollower(instant)
			<-first.died
			first.kill()
			w.startOperator()
			w.areLinked("kometa", "tautulli")
			checkSecretOpensServer(t, w.secret("tautulli"))
			checkNeverShowsPIN(w, links, "tautulli")
		})
	}
}

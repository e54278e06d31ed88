package stories

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// refersTo sets spec.account.linkRef.
func refersTo(leader string) func(*v1alpha1.PlexLink) {
	return func(l *v1alpha1.PlexLink) { l.Spec.Account.LinkRef = &v1alpha1.PlexLinkReference{Name: leader} }
}

// allowsLinkRefs sets spec.account.allowLinkRefs.
func allowsLinkRefs(l *v1alpha1.PlexLink) { l.Spec.Account.AllowLinkRefs = true }

// areLinked waits until links are Linked with a token of their own that plex.tv accepts.
func (w *world) areLinked(names ...string) {
	w.Helper()
	w.eventuallyWithin(90*time.Second, fmt.Sprintf("the linking of %q", names), func() error {
		valid, links, seen := w.sim.ValidTokens(), w.links(), map[string]bool{}
		for _, name := range names {
			if !meta.IsStatusConditionTrue(links[name].Status.Conditions, v1alpha1.ConditionReady) {
				return fmt.Errorf("%s: %s", name, message(links[name]))
			}
			token := w.accountToken(name)
			if !slices.Contains(valid, token) || seen[token] {
				return fmt.Errorf("%s has no valid token of its own", name)
			}
			seen[token] = true
		}
		return nil
	})
}

// awaitAccount waits until links wait for the one that they refer to.
func (w *world) awaitAccount(leader string, names ...string) {
	w.Helper()
	w.eventually("that followers wait", func() error {
		links := w.links()
		for _, name := range names {
			ready := meta.FindStatusCondition(links[name].Status.Conditions, v1alpha1.ConditionReady)
			if ready == nil || ready.Reason != v1alpha1.ReasonAwaitingAccount || links[name].Status.PIN != nil ||
				!strings.HasSuffix(ready.Message, "Waiting for PlexLink "+leader+" to be linked") {
				return fmt.Errorf("%s has the condition %+v", name, ready)
			}
		}
		return nil
	})
}

// checkFollowersRequests checks how often plex.tv was asked for each link, and how often in ten seconds.
func checkFollowersRequests(w *world, names []string) {
	w.Helper()
	const limit, qps, burst = 6, 5, 10
	counts, claims := map[string]int{}, 0
	var times []time.Time
	for _, r := range w.sim.Requests() {
		if r.Server != "plex.tv" {
			continue
		}
		times = append(times, r.Time)
		counts[r.DeviceName]++
		if r.Endpoint == plextest.LinkPIN {
			claims++
			counts[r.DeviceName]--
		}
	}
	most := 0
	for _, name := range names {
		most = max(most, counts[name+" ("+w.namespace+")"]+claims/len(names)) // Claims carry the name of the leader's device.
	}
	w.Logf("%d requests, %d of them claims, at most %d for a follower", len(times), claims, most)
	if claims != len(names) || most > limit {
		w.Errorf("got %d claims and %d requests for a follower, want %d and at most %d", claims, most, len(names), limit)
	}
	for i, from := range times {
		if n, _ := slices.BinarySearchFunc(times[i:], from.Add(10*time.Second), time.Time.Compare); n > qps*10+burst {
			w.Fatalf("plex.tv got %d requests in 10 s, want at most %d a second and the burst of %d", n, qps, burst)
		}
	}
}

func TestOnePINLinksAllThatReferToALink(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.create("kometa", allowsLinkRefs)
	var followers []string
	for i := range 14 {
		followers = append(followers, fmt.Sprintf("app-%02d", i))
		w.create(followers[i], refersTo("kometa"))
	}
	all := append([]string{"kometa"}, followers...)
	w.awaitAccount("kometa", followers...)
	seen := w.recordLinks()
	w.enterPIN("kometa")
	w.areLinked(all...)
	checkFollowersRequests(w, followers)
	if n := len(w.sim.PINs()); n != 15 {
		t.Errorf("got %d PINs, want one for each link", n)
	}

	w.sim.RevokeTokens(w.alice) // "Sign out everywhere."
	w.sim.ResetRequests()
	w.advance(70 * time.Minute)
	w.awaitAccount("kometa", followers...)
	if n := len(w.sim.PINs()); n != 16 {
		t.Errorf("got %d PINs after the revocation, want one more", n)
	}
	w.enterPINAs("kometa", w.alice)
	w.areLinked(all...)
	checkFollowersRequests(w, followers)
	for _, name := range followers {
		checkSecretOpensServer(t, w.secret(name))
		_, versions := seen.of(name)
		for _, link := range versions {
			if link.Status.PIN != nil {
				t.Errorf("%s showed a PIN, want none", name)
			}
		}
	}
}

func TestFollowerAsksNothingOfPlexBeforeItsLeaderIsLinked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.create("tautulli", refersTo("kometa"))
	w.says("tautulli", "PlexLink kometa of spec.account.linkRef does not exist; create it, or change linkRef")
	w.create("kometa")
	w.says("tautulli", "PlexLink kometa of spec.account.linkRef does not allow it; set spec.account.allowLinkRefs to true there, or change linkRef")
	w.reaches("tautulli", v1alpha1.ReasonAccountUnavailable)
	w.hasEvent(v1alpha1.ReasonAccountUnavailable, "does not exist")
	w.change("kometa", allowsLinkRefs)
	w.awaitAccount("kometa", "tautulli")
	w.create("homepage", refersTo("tautulli"))
	w.says("homepage", "PlexLink tautulli of spec.account.linkRef takes the account of PlexLink kometa itself; refer to that one")
	w.awaitsPIN("kometa")
	for _, r := range w.sim.Requests() {
		if !strings.HasPrefix(r.DeviceName, "kometa ") {
			t.Errorf("got the request %s for %s, want none", r.Endpoint, r.DeviceName)
		}
	}
	w.enterPIN("kometa")
	w.areLinked("kometa", "tautulli")
	if got, want := w.link("tautulli").Status.Account, w.link("kometa").Status.Account; *got != *want {
		t.Errorf("got the account %+v, want %+v", got, want)
	}
	w.change("homepage", refersTo("kometa"))
	w.areLinked("homepage")
	w.hasEvent("Followed", "with the token of PlexLink kometa")
}

func TestFollowersStayWhenTheirLeaderIsDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa", allowsLinkRefs)
	w.create("tautulli", refersTo("kometa"))
	w.areLinked("tautulli")
	before := w.accountToken("tautulli")
	w.delete("kometa")
	w.isGone("kometa")
	w.refresh("tautulli")
	if w.accountToken("tautulli") != before || w.reaches("tautulli", v1alpha1.ReasonLinked).Status.PIN != nil {
		t.Error("the follower changed, want it as it was")
	}
	w.sim.RevokeTokens(w.alice)
	w.advance(70 * time.Minute)
	w.says("tautulli", "The account has signed this device out; "+
		"PlexLink kometa of spec.account.linkRef does not exist; create it, or change linkRef")
	w.linked("kometa", allowsLinkRefs)
	w.areLinked("kometa", "tautulli")
}

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
			w.eventually("polls of the other operator", func() error {
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
			code = w.showsAnotherPIN("tautulli", code)
			if got := message(w.link("tautulli")); !strings.Contains(got, "bob entered the PIN, but spec.account asks for the account of PlexLink kometa") {
				t.Errorf("got the message %q, want that bob is the wrong person", got)
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

// checkNeverShowsPIN checks that no version of a link had a PIN for a person.
func checkNeverShowsPIN(w *world, links *recording[*v1alpha1.PlexLink], name string) {
	w.Helper()
	_, versions := links.of(name)
	for _, link := range versions {
		if link.Status.PIN != nil {
			w.Errorf("%s showed a PIN: %s", name, message(link))
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
		t.Errorf("got the message %q, want why the PIN is shown", got)
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
	w.request("tautulli", v1alpha1.LinkRequestedAtAnnotation) // One link alone gets a new token.
	w.eventually("another token", func() error {
		if w.accountToken("tautulli") == before {
			return errNotYet
		}
		return nil
	})
	w.areLinked("kometa", "tautulli")
	w.request("kometa", v1alpha1.LinkRequestedAtAnnotation)
	w.enterPINAs("kometa", bob)
	w.eventually("the account of bob", func() error {
		if account := w.link("tautulli").Status.Account; account == nil || account.Username != "bob" {
			return fmt.Errorf("got %+v", account)
		}
		return nil
	})
	w.areLinked("kometa", "tautulli")
}

// linkFollower links kometa and lets tautulli follow it. The operator is killed before that of the requests that do so,
// from the one for its PIN on, which has the number; requests counts them.
func (w *world) linkFollower(killedBefore int64) (o *operator, requests *atomic.Int64) {
	w.Helper()
	var armed atomic.Bool
	requests = &atomic.Int64{}
	o = w.startOperator(func(o *operator) {
		o.diesBefore = func(r *http.Request) bool {
			mints := r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/api/v2/pins")
			if !armed.Load() || requests.Load() == 0 && !mints {
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
		t.Fatalf("got %d requests, want those that link a follower", instants)
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

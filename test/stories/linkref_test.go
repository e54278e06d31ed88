package stories

import (
	"fmt"
	"slices"
	"strings"
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

// areLinked waits until links are Linked, each with its own token that plex.tv accepts.
func (w *world) areLinked(names ...string) {
	w.Helper()
	w.eventuallyWithin(90*time.Second, fmt.Sprintf("%q to be linked", names), func() error {
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

// awaitAccount waits until the named links are waiting for the leader to be linked.
func (w *world) awaitAccount(leader string, names ...string) {
	w.Helper()
	w.eventually("the followers to wait", func() error {
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

// checkFollowersRequests checks the number of requests to plex.tv for each follower, and in any ten seconds.
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
		most = max(most, counts[name+" ("+w.namespace+")"]+claims/len(names)) // Claims have the name of the leader's device.
	}
	w.Logf("%d requests, %d of them claims, at most %d per follower", len(times), claims, most)
	if claims != len(names) || most > limit {
		w.Errorf("got %d claims and up to %d requests per follower, want %d and at most %d", claims, most, len(names), limit)
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
			t.Errorf("got a request to %s for %s, want none", r.Endpoint, r.DeviceName)
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
		t.Error("the follower changed, want it unchanged")
	}
	w.sim.RevokeTokens(w.alice)
	w.advance(70 * time.Minute)
	w.says("tautulli", "The account has signed this device out; "+
		"PlexLink kometa of spec.account.linkRef does not exist; create it, or change linkRef")
	w.linked("kometa", allowsLinkRefs)
	w.areLinked("kometa", "tautulli")
}

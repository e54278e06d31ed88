package stories

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// trouble is a way to make requests for Secrets fail.
type trouble struct {
	code    int32
	reason  metav1.StatusReason
	message string
	// patience is how long a deletion retries.
	patience time.Duration
}

var (
	webhookDown = trouble{500, metav1.StatusReasonInternalError, "failed calling webhook: connection refused", 5 * time.Minute}
	rightLost   = trouble{403, metav1.StatusReasonForbidden, "secrets is forbidden", 15 * time.Second}
)

// secretTrouble makes requests for Secrets fail from begin on.
type secretTrouble struct {
	trouble
	verbs  []string // "get", "list", "patch", "delete"
	begun  atomic.Bool
	failed atomic.Int64
}

// answer returns the error for a request, or nil to let it pass.
func (s *secretTrouble) answer(req *http.Request) *http.Response {
	verb, resource, _ := strings.Cut(permissionOf(req), " ")
	if !s.begun.Load() || resource != "/secrets" || !slices.Contains(s.verbs, verb) {
		return nil
	}
	s.failed.Add(1)
	return refusal(req, s.code, s.reason, s.message)
}

// refusesAgain makes the operator reconcile every link and waits until it has been refused.
func (s *secretTrouble) refusesAgain(w *world) {
	w.Helper()
	before := s.failed.Load()
	w.poke()
	w.eventually("another failed request", func() error {
		if s.failed.Load() == before {
			return errNotYet
		}
		return nil
	})
}

// Fault A12: Secrets cannot be read, changed or deleted, because of a webhook that is down, a lost key or a lost permission.
func TestDeletionEndsAlthoughSecretsCannotBeReadOrChanged(t *testing.T) {
	t.Parallel()
	type row struct {
		policy v1alpha1.DeletionPolicy
		verb   string
		// restarted means that the operator is restarted after the deletion, so it remembers nothing.
		restarted bool
		named     string // in the event
		left      []string
		signedOut int
	}
	const revoke, retain = v1alpha1.DeletionPolicyRevoke, v1alpha1.DeletionPolicyRetain
	both := []string{"kometa", "kometa-plexlink-device"}
	for _, row := range []row{
		{revoke, "list", false, "Secret kometa, Secret kometa-plexlink-device", both, 1},
		{revoke, "delete", false, "Secret kometa, Secret kometa-plexlink-device", both, 1},
		{revoke, "get", true, "the token of Secret kometa-plexlink-device", nil, 0},
		{retain, "list", false, "Secret kometa, Secret kometa-plexlink-device", both, 0},
		{retain, "patch", false, "Secret kometa: ", both, 0},
		{retain, "get", true, "", both, 0},
	} {
		for name, kind := range map[string]trouble{"webhook": webhookDown, "right": rightLost} {
			t.Run(fmt.Sprintf("%s, %s fails: %s", row.policy, row.verb, name), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				broken := &secretTrouble{trouble: kind, verbs: []string{row.verb}}
				breaks := func(o *operator) { o.answer = broken.answer }
				o := w.startOperator(breaks)
				w.linked("kometa")
				w.settled("kometa")
				token := w.accountToken("kometa")
				if row.policy == retain { // Not applied yet, so the Secret still has an owner reference.
					w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Suspend = true })
					w.reaches("kometa", v1alpha1.ReasonSuspended)
					w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.DeletionPolicy = retain })
				}
				if row.policy == revoke {
					w.ignoreToken(token, "it cannot be read, or its Secret cannot be deleted")
				}
				w.leaves(row.left...)
				if row.restarted {
					o.stop()
				}
				broken.begun.Store(true)
				w.delete("kometa")
				if row.restarted {
					w.startOperator(breaks)
				}
				w.eventually("a failed request", func() error {
					if broken.failed.Load() == 0 {
						return errNotYet
					}
					return nil
				})
				w.clock.advance(kind.patience - 5*time.Second)
				broken.refusesAgain(w)
				broken.refusesAgain(w) // It keeps trying.
				w.advance(6 * time.Second)
				w.isGone("kometa")
				if row.named != "" {
					w.hasEvent("DeletionIncomplete", row.named)
					w.hasEvent("DeletionIncomplete", kind.message)
				} else {
					w.hasNoEvent("DeletionIncomplete")
				}
				for _, name := range both {
					if name == "kometa" && row.verb != "get" {
						continue // It kept its owner reference, so another story's garbage collector may have deleted it.
					}
					if exists := w.secret(name) != nil; exists != slices.Contains(row.left, name) {
						t.Errorf("got Secret %s exists: %t, want %t", name, exists, !exists)
					}
				}
				if n := w.sim.Count(plextest.SignOut); n != row.signedOut {
					t.Errorf("got %d sign-outs, want %d", n, row.signedOut)
				}
				if row.verb == "get" && row.policy == retain && len(w.secret("kometa").OwnerReferences) != 0 {
					t.Error("got an owner reference, which gets the Secret garbage-collected, want none")
				}
			})
		}
	}
}

// Fault A12, with the policy Retain and a PIN entered just before the deletion.
func TestDeletionEndsAlthoughALastTokenCannotBeStored(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]trouble{"webhook": webhookDown, "right": rightLost} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			broken := &secretTrouble{trouble: kind, verbs: []string{"patch"}}
			w.startOperator(func(o *operator) { o.answer = broken.answer })
			w.create("kometa", func(l *v1alpha1.PlexLink) { l.Spec.DeletionPolicy = v1alpha1.DeletionPolicyRetain })
			code := w.awaitsPIN("kometa").Status.PIN.Code
			w.leaves("kometa-plexlink-device")
			broken.begun.Store(true)
			if err := w.sim.Link(code, w.alice); err != nil {
				t.Fatal(err)
			}
			w.ignoreToken(w.sim.PINs()[0].Token, "it cannot be stored")
			w.delete("kometa")
			w.eventually("a failed request", func() error {
				if broken.failed.Load() == 0 {
					return errNotYet
				}
				return nil
			})
			w.advance(kind.patience + time.Second)
			w.isGone("kometa")
			w.hasEvent("DeletionIncomplete", "kometa-plexlink-device")
		})
	}
}

// Fault A12, conversely: what fails for a while is done in the end, without an event.
func TestDeletionThatFailsForAWhileLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	broken := &secretTrouble{trouble: webhookDown, verbs: []string{"get", "list", "patch", "delete"}}
	w.startOperator(func(o *operator) { o.answer = broken.answer })
	w.linked("kometa")
	w.settled("kometa")
	broken.begun.Store(true)
	w.delete("kometa")
	for range 3 {
		broken.refusesAgain(w)
	}
	broken.begun.Store(false)
	w.poke()
	w.isGone("kometa")
	if w.secret("kometa") != nil || w.secret("kometa-plexlink-device") != nil {
		t.Error("a Secret is left, want none")
	}
	if n := w.sim.Count(plextest.SignOut); n != 1 {
		t.Errorf("got %d sign-outs, want one", n)
	}
	w.hasEvent("SignedOut", "")
	w.hasNoEvent("DeletionIncomplete")
}

// Fault A21: every deletion signed out twice.
func TestDeletionSignsOutOnceAlthoughTheCacheIsBehind(t *testing.T) {
	t.Parallel()
	for name, delayed := range map[string]string{"PlexLinks": "/plexlinks", "Secrets": "/secrets"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := w.startOperator(watchesLate(w, delayed, time.Second))
			w.linked("kometa")
			w.settled("kometa")
			w.delete("kometa")
			w.isGone("kometa")
			w.eventually("the link to be forgotten", w.forgotten)
			o.forgetRequests()
			w.linked("neighbour") // Gives the operator time to do something wrong.
			signOuts := 0
			for _, r := range w.sim.Requests() {
				if r.Endpoint == plextest.SignOut {
					signOuts++
				}
			}
			if signOuts != 1 {
				t.Errorf("got %d sign-outs, want one", signOuts)
			}
			w.hasEvent("SignedOut", "")
			w.hasNoEvent("SignOutFailed")
			w.hasNoEvent("DeletionIncomplete")
		})
	}
}

// hasNoEvent checks that there is no event with the reason.
func (w *world) hasNoEvent(reason string) {
	w.Helper()
	for _, e := range w.events() {
		if e.Reason == reason {
			w.Errorf("got the event %s: %s, want none", e.Reason, e.Note)
		}
	}
}

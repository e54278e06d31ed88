package stories

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
)

// insists has another client undo every change of the operator to a Secret, until stop is called.
func (w *world) insists(name string, undo func(ctx context.Context, live *corev1.Secret) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
			var live corev1.Secret
			err := admin.Get(ctx, types.NamespacedName{Namespace: w.namespace, Name: name}, &live)
			if err == nil && string(live.Data["PLEX_URL"]) != "http://theirs" {
				err = undo(ctx, &live)
			}
			if client.IgnoreNotFound(err) != nil && ctx.Err() == nil {
				w.Errorf("the other client failed: %v", err)
			}
		}
	})
	stop = func() {
		cancel()
		done.Wait()
	}
	w.Cleanup(stop)
	return stop
}

// looksAgain makes the operator reconcile every link and waits until it has read the Secret.
func (o *operator) looksAgain(name string) {
	o.w.Helper()
	reads := func() int {
		n := 0
		for _, request := range o.requests() {
			if strings.HasPrefix(request, "GET ") && strings.HasSuffix(request, "/secrets/"+name) {
				n++
			}
		}
		return n
	}
	before := reads()
	o.w.poke()
	o.w.eventually("a read of Secret "+name, func() error {
		if reads() == before {
			return errNotYet
		}
		return nil
	})
}

// Fault A13: two writers disagree over one key, or over whether the Secret exists.
func TestSecretThatAnotherClientKeepsChangingIsRepairedWithIncreasingDelay(t *testing.T) {
	t.Parallel()
	change := func(ctx context.Context, live *corev1.Secret) error {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"stringData":{"PLEX_URL":"http://theirs"}}`))
		return admin.Patch(ctx, live, patch, client.FieldOwner("gitops"))
	}
	remove := func(ctx context.Context, live *corev1.Secret) error { return admin.Delete(ctx, live) }
	for name, row := range map[string]struct {
		undo    func(context.Context, *corev1.Secret) error
		want    string
		renamed bool // whether spec.secret.name is changed, as the message advises, instead of stopping the other client
	}{
		"changed":          {change, "gitops keeps changing Secret kometa; stop it, or set spec.secret.name to another name", false},
		"changed, renamed": {change, "gitops keeps changing Secret kometa", true},
		"deleted":          {remove, "Another client keeps deleting Secret kometa", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var repairs atomic.Int64
			o := w.startOperator(func(o *operator) {
				o.loses = func(req *http.Request) bool { // It loses none, but counts the requests.
					applied := strings.HasPrefix(req.Header.Get("Content-Type"), "application/apply-patch")
					if isWriteOf(req, "kometa") && applied || req.Method == http.MethodPost && strings.HasSuffix(req.URL.Path, "/secrets") {
						repairs.Add(1)
					}
					return false
				}
			})
			w.linked("kometa")
			w.settled("kometa")
			repairs.Store(0)
			start := time.Now()
			stop := w.insists("kometa", row.undo)
			// One second, then two, then four pass between two repairs.
			w.eventually("the third repair", func() error {
				if repairs.Load() < 3 {
					return errNotYet
				}
				return nil
			})
			if took := time.Since(start); took < 3*time.Second {
				t.Errorf("three repairs took %s, want at least 3 s", took)
			}
			link := w.reaches("kometa", v1alpha1.ReasonSecretContested)
			synced := meta.FindStatusCondition(link.Status.Conditions, v1alpha1.ConditionSecretSynced)
			if synced.Status != "False" || synced.Reason != v1alpha1.ReasonSecretContested || !strings.HasPrefix(synced.Message, row.want) {
				t.Errorf("got the condition %+v, want False and %q", synced, row.want)
			}
			w.hasEvent(v1alpha1.ReasonSecretContested, row.want)

			undone := func() {
				t.Helper()
				w.eventually("the other client to undo it", func() error {
					if s := w.secret("kometa"); s != nil && string(s.Data["PLEX_URL"]) == w.server.URL {
						return errNotYet
					}
					return nil
				})
			}
			undone()
			versions := w.recordLinks()
			for wait := 4 * time.Second; wait < 20*time.Minute; wait *= 2 {
				before := repairs.Load()
				w.clock.advance(min(wait, 5*time.Minute) / 2)
				o.looksAgain("kometa")
				if n := repairs.Load() - before; n != 0 {
					t.Errorf("got %d repairs within %s, want none", n, wait)
				}
				w.advance(min(wait, 5*time.Minute) / 2)
				w.eventually(fmt.Sprintf("a repair after %s", wait), func() error {
					if repairs.Load() == before {
						return errNotYet
					}
					return nil
				})
				undone()
			}
			w.reaches("kometa", v1alpha1.ReasonSecretContested)
			_, seen := versions.of("kometa")
			for _, version := range seen {
				if ready := meta.FindStatusCondition(version.Status.Conditions, v1alpha1.ConditionReady); ready.Reason != v1alpha1.ReasonSecretContested {
					t.Errorf("the link became %s while the clients disagreed, want it to stay %s: %s",
						ready.Reason, v1alpha1.ReasonSecretContested, ready.Message)
					break
				}
			}

			if row.renamed {
				w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Secret.Name = "other" })
				w.reaches("kometa", v1alpha1.ReasonLinked)
				checkSecretOpensServer(t, w.secret("other"))
				return
			}
			stop()
			w.advance(5 * time.Minute)
			w.eventually("the last repair", func() error {
				if s := w.secret("kometa"); s == nil || string(s.Data["PLEX_URL"]) != w.server.URL {
					return errNotYet
				}
				return nil
			})
			w.advance(5 * time.Minute)
			w.reaches("kometa", v1alpha1.ReasonLinked)
			checkSecretOpensServer(t, w.secret("kometa"))
		})
	}
}

// Fault A13: the message of a conflict with another PlexLink's Secret did not name that PlexLink.
func TestConflictWithTheSecretOfAnotherPlexLinkNamesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("two")
	w.create("one", func(l *v1alpha1.PlexLink) { l.Spec.Secret.Name = "two" })
	link := w.reaches("one", v1alpha1.ReasonSecretConflict)
	if !strings.Contains(message(link), "Secret two ") || !strings.Contains(message(link), "PlexLink two") {
		t.Errorf("got the message %q, want Secret two and PlexLink two in it", message(link))
	}
	w.hasEvent(v1alpha1.ReasonSecretConflict, "PlexLink two")
}

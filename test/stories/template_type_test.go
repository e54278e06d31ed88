package stories

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"plexlink.dev/operator/api/v1alpha1"
)

const otherType corev1.SecretType = "example.com/plex"

// withType sets spec.secret.template.type to otherType.
func withType(l *v1alpha1.PlexLink) {
	l.Spec.Secret.Template = &v1alpha1.SecretTemplate{Type: string(otherType)}
}

// hasType waits until a Secret has the type, and returns it.
func (w *world) hasType(name string, want corev1.SecretType) *corev1.Secret {
	w.Helper()
	var secret *corev1.Secret
	w.eventually("type "+string(want)+" of "+name, func() error {
		if secret = w.secret(name); secret == nil || secret.Type != want {
			return errNotYet
		}
		return nil
	})
	return secret
}

func TestChangedTypeReplacesTheSecretAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	old, secrets, links := w.secret("kometa"), w.recordSecrets(), w.recordLinks()
	w.change("kometa", withType)
	secret := w.hasType("kometa", otherType)
	if secret.UID == old.UID || string(secret.Data["PLEX_TOKEN"]) != string(old.Data["PLEX_TOKEN"]) {
		t.Errorf("got UID %s and the same token: %t, want another UID and true", secret.UID, string(secret.Data["PLEX_TOKEN"]) == string(old.Data["PLEX_TOKEN"]))
	}
	w.hasEvent("SecretRecreated", "Deleted Secret kometa of type Opaque to create it with type example.com/plex")
	w.reaches("kometa", v1alpha1.ReasonLinked)
	var seen []watch.EventType
	w.eventually("two events of the watch", func() error {
		if seen, _ = secrets.of("kometa"); len(seen) < 3 {
			return errNotYet
		}
		return nil
	})
	// The first event is the existing Secret.
	if !slices.Equal(seen, []watch.EventType{watch.Added, watch.Deleted, watch.Added}) {
		t.Errorf("got the watch events %v, want the old Secret deleted and the new one added", seen)
	}
	if _, versions := secrets.of("kometa"); versions[2].Type != otherType {
		t.Errorf("got type %s added, want %s", versions[2].Type, otherType)
	}
	checkStaysReady(w, links, "kometa")
	checkSecretOpensServer(t, secret)
}

func TestKillBetweenDeletingAndCreatingTheSecretLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var deleted atomic.Bool
	first := w.startOperator(func(o *operator) {
		o.diesBefore = func(r *http.Request) bool {
			if r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "/secrets/kometa") {
				deleted.Store(true)
			}
			return deleted.Load() && r.Method == http.MethodPost
		}
	})
	w.linked("kometa")
	w.settled("kometa")
	w.change("kometa", withType)
	<-first.died
	first.kill()
	if w.secret("kometa") != nil {
		t.Fatal("the operator died too early: the old Secret still exists")
	}
	w.sim.ResetRequests()
	w.startOperator()
	checkSecretOpensServer(t, w.hasType("kometa", otherType))
	w.reaches("kometa", v1alpha1.ReasonLinked)
	if requests := w.plexRequestsOf("kometa"); len(requests) != 0 {
		t.Errorf("got the requests %q to plex.tv, want none", requests)
	}
}

func TestForeignSecretThatTakesThePlaceOfTheOldOneIsNotDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	foreign := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "kometa", Namespace: w.namespace}, Data: map[string][]byte{"password": []byte("precious")},
	}
	var once sync.Once
	w.startOperator(func(o *operator) {
		o.fail = func(r *http.Request) error {
			if r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "/secrets/kometa") {
				once.Do(func() { // Right before the operator deletes the old one.
					if err := admin.Delete(w.Context(), w.secret("kometa")); err != nil {
						t.Error(err)
					}
					if err := admin.Create(w.Context(), foreign); err != nil {
						t.Error(err)
					}
				})
			}
			return nil
		}
	})
	w.linked("kometa")
	w.settled("kometa")
	w.change("kometa", withType)
	w.reaches("kometa", v1alpha1.ReasonSecretConflict)
	if got := w.secret("kometa"); got == nil || got.UID != foreign.UID || string(got.Data["password"]) != "precious" {
		t.Error("the foreign Secret changed, want it untouched")
	}
	if err := admin.Delete(w.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	w.poke()
	w.hasType("kometa", otherType)
	w.reaches("kometa", v1alpha1.ReasonLinked)
}

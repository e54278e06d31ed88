package stories

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
)

// Fault A21: a Secret that was replaced between read and write was reported as SecretRefused and Stalled.
func TestSecretThatIsReplacedDuringAWriteIsWrittenAgain(t *testing.T) {
	t.Parallel()
	for name, times := range map[string]int64{"once": 1, "three times in a row": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var armed atomic.Bool
			var replaced atomic.Int64
			w.startOperator(func(o *operator) {
				o.fail = func(req *http.Request) error {
					if armed.Load() && isWriteOf(req, "kometa") && replaced.Add(1) <= times {
						return w.replaceSecret("kometa")
					}
					return nil
				}
			})
			w.linked("kometa")
			w.settled("kometa")
			links := w.recordLinks()
			armed.Store(true)
			w.change("kometa", func(l *v1alpha1.PlexLink) {
				l.Spec.Secret.Template = &v1alpha1.SecretTemplate{Data: map[string]v1alpha1.TemplateText{"NEW": "{{ .Token }}"}}
			})
			w.eventually("the new content", func() error {
				if s := w.secret("kometa"); s == nil || len(s.Data["NEW"]) == 0 {
					return errNotYet
				}
				return nil
			})
			w.reaches("kometa", v1alpha1.ReasonLinked)
			_, versions := links.of("kometa")
			for _, link := range versions {
				if meta.IsStatusConditionTrue(link.Status.Conditions, v1alpha1.ConditionStalled) ||
					strings.Contains(fmt.Sprint(link.Status.Conditions), v1alpha1.ReasonSecretRefused) {
					t.Fatalf("got SecretRefused or Stalled in the status, want neither: %s", message(link))
				}
			}
			w.hasNoEvent(v1alpha1.ReasonSecretRefused)
			w.hasEvent("SecretUpdated", "") // The event is written after the Secret.
			if n := w.eventCount("SecretUpdated"); n != 1 {
				t.Errorf("got %d events SecretUpdated, want one", n)
			}
		})
	}
}

// replaceSecret deletes a Secret and recreates it with the same content, as a backup tool does.
func (w *world) replaceSecret(name string) error {
	secret := w.secret(name)
	if err := admin.Delete(context.Background(), secret); err != nil {
		return err
	}
	secret.ObjectMeta = metav1.ObjectMeta{Name: name, Namespace: w.namespace, Labels: secret.Labels, Annotations: secret.Annotations}
	return admin.Create(context.Background(), secret, client.FieldOwner("backup"))
}

// Fault A21: refused writes were reported as done.
func TestRefusedWriteOfTheSecretIsNotReportedAsDone(t *testing.T) {
	t.Parallel()
	changed := func(w *world) {
		w.change("kometa", func(l *v1alpha1.PlexLink) {
			l.Spec.Secret.Template = &v1alpha1.SecretTemplate{Data: map[string]v1alpha1.TemplateText{"NEW": "{{ .Token }}"}}
		})
	}
	for name, row := range map[string]struct {
		method string
		cause  func(*world)
		reason string // of the event about the write
	}{
		"update": {http.MethodPatch, changed, "SecretUpdated"},
		"repair": {http.MethodPatch, func(w *world) {
			s := w.secret("kometa")
			s.Data["PLEX_TOKEN"] = []byte("wrong")
			if err := admin.Update(w.Context(), s); err != nil {
				w.Fatal(err)
			}
		}, "SecretRepaired"},
		"creation": {http.MethodPost, func(w *world) {
			if err := admin.Delete(w.Context(), w.secret("kometa")); err != nil {
				w.Fatal(err)
			}
		}, "SecretCreated"},
		"replacement": {http.MethodDelete, func(w *world) {
			w.change("kometa", func(l *v1alpha1.PlexLink) {
				l.Spec.Secret.Template = &v1alpha1.SecretTemplate{
					Type: "example.com/plex", Data: map[string]v1alpha1.TemplateText{"token": "{{ .Token }}"},
				}
			})
		}, "SecretRecreated"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var refusing atomic.Bool
			var refused atomic.Int64
			w.startOperator(func(o *operator) {
				o.answer = func(req *http.Request) *http.Response {
					if !refusing.Load() || req.Method != row.method || !strings.HasSuffix(req.URL.Path, "/secrets/kometa") && req.Method != http.MethodPost ||
						!strings.Contains(req.URL.Path, "/secrets") {
						return nil
					}
					refused.Add(1)
					return refusal(req, 403, metav1.StatusReasonForbidden, "policy: no Secrets on Fridays")
				}
			})
			w.linked("kometa")
			w.settled("kometa")
			w.hasEvent("SecretCreated", "")
			before := w.eventCount(row.reason)
			refusing.Store(true)
			row.cause(w)
			link := w.reaches("kometa", v1alpha1.ReasonSecretRefused)
			if !strings.Contains(message(link), "policy: no Secrets on Fridays") {
				t.Errorf("got the message %q, want the API server's message in it", message(link))
			}
			w.eventually("another refused write", func() error {
				if refused.Load() < 2 {
					return errNotYet
				}
				return nil
			})
			w.hasEvent(v1alpha1.ReasonSecretRefused, "no Secrets on Fridays") // Events are recorded in order.
			if n := w.eventCount(row.reason) - before; n != 0 {
				t.Errorf("got %d events %s for refused writes, want none", n, row.reason)
			}
			refusing.Store(false)
			w.poke()
			w.reaches("kometa", v1alpha1.ReasonLinked)
			w.eventually("the event "+row.reason, func() error {
				if n := w.eventCount(row.reason) - before; n != 1 {
					return fmt.Errorf("got %d, want one", n)
				}
				return nil
			})
		})
	}
}

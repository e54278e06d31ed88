package stories

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// Fault A10: a link whose Secret is in conflict after its PIN was entered has stored everything, so it sends plex.tv no
// requests while it waits.
func TestConflictAfterTheClaimCostsNoRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.startOperator()
	w.create("kometa")
	w.awaitsPIN("kometa")
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "kometa", Namespace: w.namespace}}
	if err := admin.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	w.enterPIN("kometa")
	w.reaches("kometa", v1alpha1.ReasonSecretConflict)
	w.settled("kometa")
	readsQuietly := func(o *operator) {
		w.sim.ResetRequests()
		o.forgetRequests()
		w.eventually("five reads of the Secret", func() error {
			w.poke()
			if got := o.count("GET", "/secrets/kometa"); got < 5 {
				return fmt.Errorf("got %d", got)
			}
			return nil
		})
		if got := w.sim.Requests(); len(got) != 0 {
			t.Errorf("got %d requests, the first to %s of %s, want none", len(got), got[0].Endpoint, got[0].Server)
		}
	}
	readsQuietly(first)
	first.kill()
	second := w.startOperator()
	readsQuietly(second)

	removed := time.Now()
	if err := admin.Delete(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	w.reaches("kometa", v1alpha1.ReasonLinked)
	if took := time.Since(removed); took > 12*time.Second {
		t.Errorf("linked %s after the conflict was removed, want at most 12s", took.Round(time.Millisecond))
	}
	checkSecretOpensServer(t, w.secret("kometa"))
	if got := w.sim.Count(plextest.CreatePIN); got != 0 || len(w.sim.PINs()) != 1 {
		t.Errorf("got %d PINs, want the first only", len(w.sim.PINs()))
	}
}

package stories

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/internal/plex/plextest"
)

func TestNamespaceWithFiftyLinksEndsAlthoughPlexIsDown(t *testing.T) {
	t.Parallel()
	stop, err := startControllerManager("namespace-controller")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	w := newWorld(t)
	w.waive(checkTokens, "plex.tv is down until the sign-outs are abandoned")
	w.startOperator(withQPS(1000, 1000)) // At the default rate, linking 50 would take a minute.
	const links = 50
	for i := range links {
		w.create(fmt.Sprint("link-", i))
	}
	for i := range links {
		w.enterPIN(fmt.Sprint("link-", i))
	}
	for i := range links {
		w.settled(fmt.Sprint("link-", i))
	}
	w.sim.Fault(plextest.Fault{Endpoint: plextest.SignOut, Status: 503, Times: -1})
	start := time.Now()
	namespace := &corev1.Namespace{}
	if err := admin.Get(t.Context(), client.ObjectKey{Name: w.namespace}, namespace); err != nil {
		t.Fatal(err)
	}
	if err := admin.Delete(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	w.eventually("a sign-out attempt for every link", func() error {
		devices := map[string]bool{}
		for _, r := range w.sim.Requests() {
			if r.Endpoint == plextest.SignOut {
				devices[r.ClientIdentifier] = true
			}
		}
		if len(devices) < links {
			return fmt.Errorf("got %d of %d", len(devices), links)
		}
		return nil
	})
	w.advance(5*time.Minute + time.Second)
	w.eventually("the namespace to be deleted", func() error {
		if err := admin.Get(t.Context(), client.ObjectKey{Name: w.namespace}, namespace); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it still exists: %+v (%v)", namespace.Status.Conditions, err)
		}
		return nil
	})
	t.Logf("the namespace was deleted five minutes by the operator's clock, plus %s, after the request", time.Since(start).Round(time.Millisecond))
	if n := len(w.sim.PINs()); n != links {
		t.Errorf("got %d PINs for %d links, want none created during the deletion", n, links)
	}
}

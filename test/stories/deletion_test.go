package stories

import (
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/controller"
	"plexlink.dev/operator/internal/plex/plextest"
)

func TestDeletionSignsOutAndRemovesTheSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	w.delete("kometa")
	w.isGone("kometa")
	if n := w.sim.Count(plextest.SignOut); n != 1 {
		t.Errorf("got %d sign-outs, want one", n)
	}
	if w.secret("kometa") != nil || w.secret("kometa-plexlink-device") != nil {
		t.Error("a Secret is left, want none")
	}
}

func TestDeletionOfAPendingLinkIsImmediate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.create("kometa")
	w.awaitsPIN("kometa")
	w.sim.ResetRequests()
	w.sim.Fault(plextest.Fault{Endpoint: plextest.SignOut, Status: 500, Times: -1})
	w.delete("kometa")
	w.isGone("kometa")
	if w.secret("kometa-plexlink-device") != nil {
		t.Error("the device Secret is left, want it deleted")
	}
}

func TestSignOutIsGivenUpAfterFiveMinutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	w.ignoreToken(w.accountToken("kometa"), "plex.tv is down until the sign-out is abandoned")
	w.sim.Fault(plextest.Fault{Endpoint: plextest.SignOut, Status: 503, Times: -1})
	w.delete("kometa")
	w.eventually("an attempt", func() error {
		if w.sim.Count(plextest.SignOut) == 0 {
			return errNotYet
		}
		return nil
	})
	w.advance(4 * time.Minute)
	w.link("kometa") // It still exists.
	w.advance(2 * time.Minute)
	w.isGone("kometa")
	w.hasEvent("SignOutFailed", "Authorized Devices")
	if w.secret("kometa") != nil || w.secret("kometa-plexlink-device") != nil {
		t.Error("a Secret is left, want none")
	}
}

func TestRetainKeepsTokenAndSecretForANewLinkOfThatName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	retain := func(l *v1alpha1.PlexLink) { l.Spec.DeletionPolicy = v1alpha1.DeletionPolicyRetain }
	w.linked("kometa", retain)
	w.settled("kometa")
	w.delete("kometa")
	w.isGone("kometa")
	if w.sim.Count(plextest.SignOut) != 0 {
		t.Error("the device was signed out, want it kept")
	}
	for _, name := range []string{"kometa", "kometa-plexlink-device"} {
		if s := w.secret(name); s == nil || len(s.OwnerReferences) != 0 {
			t.Fatalf("%s: got %v, want a Secret without owner", name, s)
		}
	}
	checkSecretOpensServer(t, w.secret("kometa"))
	w.create("kometa", retain)
	w.reaches("kometa", v1alpha1.ReasonLinked)
	if n := len(w.sim.PINs()); n != 1 {
		t.Errorf("got %d PINs, want the first only", n)
	}
}

func TestDeviceIsSignedOutAfterItsSecretIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	// As in a namespace being deleted, where the namespace controller determines the order.
	w.sim.Fault(plextest.Fault{Endpoint: plextest.SignOut, Status: 503})
	w.delete("kometa")
	if err := client.IgnoreNotFound(admin.Delete(t.Context(), w.secret("kometa-plexlink-device"))); err != nil {
		t.Fatal(err)
	}
	w.isGone("kometa")
	if n := w.sim.Count(plextest.SignOut); n != 2 {
		t.Errorf("got %d sign-outs, want a failed one and a second", n)
	}
}

func TestUninstallReleasesLinks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator() // It keeps running during the uninstallation, as under a Helm hook.
	w.linked("kometa")
	w.create("waiting")
	w.awaitsPIN("waiting")
	count, err := controller.Release(t.Context(), admin, w.clock.Now(), w.namespace)
	if err != nil || count != 2 {
		t.Fatalf("got %d finalizers removed (%v), want 2", count, err)
	}
	w.poke()
	polls := w.sim.Count(plextest.CheckPIN)
	w.eventually("another poll", func() error {
		if w.sim.Count(plextest.CheckPIN) == polls {
			return errNotYet
		}
		return nil
	})
	for _, name := range []string{"kometa", "waiting"} {
		if f := w.link(name).Finalizers; len(f) != 0 {
			t.Errorf("%s has got the finalizers %v again, want none", name, f)
		}
	}
	w.leaves("kometa", "kometa-plexlink-device", "waiting-plexlink-device") // for the garbage collector, or as a backup
	w.delete("kometa")
	w.isGone("kometa")
	w.delete("waiting")
	w.isGone("waiting")
}

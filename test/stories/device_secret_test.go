package stories

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
)

func TestDeviceSecretThatIsDeletedOrEditedIsRestoredFromMemory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	good := w.secret("kometa-plexlink-device")
	w.sim.ResetRequests()
	for name, damage := range map[string]func(*corev1.Secret) error{
		"deleted": func(s *corev1.Secret) error { return admin.Delete(t.Context(), s) },
		"unreadable": func(s *corev1.Secret) error {
			s.Data[keyState] = []byte("{")
			return admin.Update(t.Context(), s)
		},
	} {
		if err := damage(w.secret(good.Name)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		w.eventually(name+": the repair", func() error {
			if s := w.secret(good.Name); s == nil || !maps.EqualFunc(s.Data, good.Data, bytes.Equal) {
				return errNotYet
			}
			return nil
		})
	}
	w.reaches("kometa", v1alpha1.ReasonLinked)
	if n := len(w.sim.Requests()); n != 0 {
		t.Errorf("got %d requests for the repairs, want none", n)
	}
}

func TestDeviceSecretLostWhileNoOperatorRunsNeedsANewPINAndTheSecretStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	old := w.secret("kometa")
	w.ignoreToken(w.accountToken("kometa"), "it is lost with the device Secret")
	first.stop()
	if err := admin.Delete(t.Context(), w.secret("kometa-plexlink-device")); err != nil {
		t.Fatal(err)
	}
	w.startOperator()
	w.enterPIN("kometa")
	if w.secret("kometa").UID != old.UID {
		t.Error("the Secret was replaced, want it kept")
	}
	w.eventually("the new token", func() error {
		if string(w.secret("kometa").Data["PLEX_TOKEN"]) == string(old.Data["PLEX_TOKEN"]) {
			return errors.New("it is the old one")
		}
		return nil
	})
	w.reaches("kometa", v1alpha1.ReasonLinked)
	checkSecretOpensServer(t, w.secret("kometa"))
}

func TestUnreadableDeviceSecretIsNotOverwritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	first.stop()
	s := w.secret("kometa-plexlink-device")
	s.Data[keyState] = []byte("{")
	if err := admin.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	w.startOperator()
	link := w.reaches("kometa", v1alpha1.ReasonSecretConflict)
	if !strings.Contains(message(link), "kometa-plexlink-device") || link.Status.Server == nil {
		t.Errorf("got the message %q and the server %v, want the name of the Secret and the server", message(link), link.Status.Server)
	}
	if len(w.secret("kometa-plexlink-device").Data[keyToken]) == 0 || w.secret("kometa") == nil {
		t.Error("the stored token or the Secret is gone, want both kept")
	}
}

func TestBackupInANewClusterIsAdoptedWithItsToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.startOperator()
	old := w.linked("kometa")
	w.settled("kometa")
	device, target := w.secret("kometa-plexlink-device"), w.secret("kometa")
	first.stop()
	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Finalizers = nil })
	for _, o := range []client.Object{old, device, target} {
		if err := client.IgnoreNotFound(admin.Delete(t.Context(), o)); err != nil { // It may have been garbage-collected.
			t.Fatal(err)
		}
	}
	// The objects in the backup have owner references with UIDs of the old cluster, and another field manager.
	for _, s := range []*corev1.Secret{device, target} {
		s.ObjectMeta = metav1.ObjectMeta{Name: s.Name, Namespace: s.Namespace, Labels: s.Labels, Annotations: s.Annotations, OwnerReferences: s.OwnerReferences}
		if err := admin.Create(t.Context(), s, client.FieldOwner("velero")); err != nil {
			t.Fatal(err)
		}
	}
	w.create("kometa")
	w.startOperator()
	link := w.reaches("kometa", v1alpha1.ReasonLinked)
	if len(w.sim.PINs()) != 1 {
		t.Errorf("got %d PINs, want the first only", len(w.sim.PINs()))
	}
	w.eventually("adoption", func() error {
		// The device Secret must outlive the link, so it has no owner; the other is deleted with the link.
		for name, owners := range map[string]int{"kometa": 1, "kometa-plexlink-device": 0} {
			s := w.secret(name)
			if s == nil || len(s.OwnerReferences) != owners || owners == 1 && s.OwnerReferences[0].UID != link.UID ||
				s.Labels[v1alpha1.UIDLabel] != string(link.UID) {
				return fmt.Errorf("got %s %+v, want it to belong to %s", name, s, link.UID)
			}
		}
		return nil
	})
	checkSecretOpensServer(t, w.secret("kometa"))
}

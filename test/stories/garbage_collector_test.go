package stories

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// retain sets the policy that keeps token and Secrets when a link is deleted.
func retain(l *v1alpha1.PlexLink) { l.Spec.DeletionPolicy = v1alpha1.DeletionPolicyRetain }

// restoreOrders holds all orders in which the three objects of a link can be restored.
var restoreOrders = []string{
	"device target link", "target device link", "device link target", "target link device", "link device target", "link target device",
}

// backup holds the objects of a link as a backup tool restores them: with labels and owner references but new UIDs.
type backup map[string]client.Object

// backUpLink reads the objects of a link.
func (w *world) backUpLink(name string) backup {
	w.Helper()
	b := backup{"device": w.secret(name + v1alpha1.DeviceSecretSuffix), "target": w.secret(name)}
	link := w.link(name)
	b["link"] = &v1alpha1.PlexLink{ObjectMeta: link.ObjectMeta, Spec: link.Spec}
	for _, object := range b {
		object.SetUID("")
		object.SetResourceVersion("")
		object.SetManagedFields(nil)
		object.SetCreationTimestamp(metav1.Time{})
		object.SetGeneration(0)
	}
	return b
}

// restore writes the objects in the given order, over existing ones, as `kubectl apply` does.
func (w *world) restore(b backup, order string) {
	w.Helper()
	for part := range strings.FieldsSeq(order) {
		object := b[part].DeepCopyObject().(client.Object)
		err := admin.Create(w.Context(), object)
		if apierrors.IsAlreadyExists(err) {
			object = b[part].DeepCopyObject().(client.Object)
			gvk, e := apiutil.GVKForObject(object, testScheme)
			if e != nil {
				w.Fatal(e)
			}
			object.GetObjectKind().SetGroupVersionKind(gvk)
			err = admin.Patch(w.Context(), object, client.Merge)
		}
		if err != nil {
			w.Fatalf("restore %s: %v", part, err)
		}
	}
}

// isLinkedWith waits until a link is linked with a token and both its Secrets have its UID.
func (w *world) isLinkedWith(name, token string) {
	w.Helper()
	link := w.reaches(name, v1alpha1.ReasonLinked)
	w.eventually("the Secrets of "+name, func() error {
		for _, secret := range []string{name, name + v1alpha1.DeviceSecretSuffix} {
			if s := w.secret(secret); s == nil || s.Labels[v1alpha1.UIDLabel] != string(link.UID) {
				return fmt.Errorf("Secret %s does not belong to %s", secret, link.UID)
			}
		}
		return nil
	})
	if w.accountToken(name) != token {
		w.Errorf("%s: got another token than the one in the backup", name)
	}
	checkSecretOpensServer(w, w.secret(name))
}

// Fault A6: a backup of deleted links can be restored in any order, without a PIN.
func TestBackupIsRestoredInAnyOrderWithoutAPIN(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(w *world, links []string) (restored func()){
		// The operator runs throughout.
		"Retain, operator up": func(w *world, links []string) func() {
			for _, link := range links {
				w.change(link, retain)
				w.reaches(link, v1alpha1.ReasonLinked)
				w.delete(link)
				w.isGone(link)
			}
			return func() {}
		},
		// The operator is stopped before the links are removed and started before they are restored.
		"Revoke, operator up": func(w *world, links []string) func() {
			w.removeUnseen(links)
			w.startOperator()
			return func() {}
		},
		// The operator is started after everything is restored.
		"Revoke, operator down": func(w *world, links []string) func() {
			w.removeUnseen(links)
			return func() { w.startOperator() }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testRestore(t, remove, name != "Revoke, operator down")
		})
	}
}

// testRestore backs up a link for each order, removes the links, and restores each in its order. The operator runs all the
// time, or restored starts it.
func testRestore(t *testing.T, remove func(w *world, links []string) (restored func()), up bool) {
	w := newWorld(t)
	w.withGarbageCollector()
	w.startOperator()
	var links []string
	backups, tokens := map[string]backup{}, map[string]string{}
	for i := range restoreOrders {
		links = append(links, fmt.Sprintf("link-%d", i))
		w.create(links[i])
	}
	for _, link := range links {
		w.enterPIN(link)
		w.reaches(link, v1alpha1.ReasonLinked)
		w.settled(link)
		backups[link], tokens[link] = w.backUpLink(link), w.accountToken(link)
	}
	restored := remove(w, links)
	for _, secret := range w.secrets() {
		if err := client.IgnoreNotFound(admin.Delete(t.Context(), &secret)); err != nil {
			t.Fatal(err)
		}
	}
	w.withGarbageCollector()
	for i, order := range restoreOrders {
		w.restore(backups[links[i]], order)
	}
	w.withGarbageCollector() // Gives it time to collect dependents of deleted owners.
	restored()
	for _, link := range links {
		w.isLinkedWith(link, tokens[link])
	}
	// Only a PlexLink restored before its token may have been given a PIN, which need not be entered.
	early := func(link string) bool {
		order := restoreOrders[slices.Index(links, link)]
		return up && strings.Index(order, "link") < strings.Index(order, "device")
	}
	for _, pin := range w.sim.PINs()[len(links):] {
		if link, _, _ := strings.Cut(pin.DeviceName, " "); !early(link) || !pin.ClaimedAt.IsZero() {
			t.Errorf("got a PIN for %s, want none", link)
		}
	}
}

// Fault A6: a PIN that was issued before the token was restored is no longer shown.
func TestBackupThatIsRestoredWhileAPINIsOpenLinksWithoutIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.startOperator()
	w.linked("kometa", retain)
	w.settled("kometa")
	saved, token := w.backUpLink("kometa"), w.accountToken("kometa")
	w.delete("kometa")
	w.isGone("kometa")
	for _, secret := range w.secrets() {
		if err := admin.Delete(t.Context(), &secret); err != nil {
			t.Fatal(err)
		}
	}
	w.restore(saved, "link")
	w.awaitsPIN("kometa")
	w.restore(saved, "target device")
	w.isLinkedWith("kometa", token)
	if pin := w.link("kometa").Status.PIN; pin != nil {
		t.Errorf("got the PIN %s in the status, want none", pin.Code)
	}
	w.hasEvent("Adopted", "alice")
	w.eventually("the PIN to be closed", func() error {
		if open, err := o.gauge("plexlink_pins_open"); err != nil || open != 0 {
			return fmt.Errorf("got %v open PINs (%v)", open, err)
		}
		return nil
	})
}

// removeUnseen deletes links without their finalizers while no operator runs.
func (w *world) removeUnseen(links []string) {
	w.Helper()
	w.operators[len(w.operators)-1].stop()
	for _, link := range links {
		w.vanish(link)
	}
}

// Fault A7: a foreground deletion, which Argo CD uses, deletes dependents at once.
func TestRetainKeepsBothSecretsInAForegroundDeletion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.withGarbageCollector()
	w.startOperator()
	var secrets []string
	targets := map[string]types.UID{}
	for i := range 10 {
		name := fmt.Sprintf("link-%d", i)
		w.create(name, retain)
		secrets = append(secrets, name, name+v1alpha1.DeviceSecretSuffix)
	}
	for i := range 10 {
		name := fmt.Sprintf("link-%d", i)
		w.enterPIN(name)
		w.reaches(name, v1alpha1.ReasonLinked)
		w.settled(name)
		targets[name] = w.secret(name).UID
	}
	w.leaves(secrets...)
	for name := range targets {
		w.deleteInForeground(name)
	}
	for name := range targets {
		w.isGone(name)
	}
	w.withGarbageCollector() // Gives it time to collect them.
	w.hasExactly(secrets...)
	for name, uid := range targets {
		secret := w.secret(name)
		if secret.UID != uid || len(secret.OwnerReferences) != 0 {
			t.Errorf("%s: got the Secret %s with owners %v, want it unchanged and without owners", name, secret.UID, secret.OwnerReferences)
		}
		checkSecretOpensServer(t, secret)
	}
}

// Fault A7: the device Secret survives a foreground deletion that begins while the operator is down.
func TestForegroundDeletionWhileTheOperatorIsDownIsSignedOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.withGarbageCollector()
	first := w.startOperator()
	const links = 5
	for i := range links {
		w.create(fmt.Sprintf("link-%d", i))
	}
	for i := range links {
		name := fmt.Sprintf("link-%d", i)
		w.enterPIN(name)
		w.reaches(name, v1alpha1.ReasonLinked)
		w.settled(name)
	}
	first.stop()
	for i := range links {
		w.deleteInForeground(fmt.Sprintf("link-%d", i))
	}
	w.withGarbageCollector() // Gives it time to collect dependents of owners being deleted.
	w.startOperator()
	for i := range links {
		w.isGone(fmt.Sprintf("link-%d", i))
	}
	if got := w.sim.Count(plextest.SignOut); got != links {
		t.Errorf("got %d sign-outs, want %d", got, links)
	}
	w.hasExactly()
}

// deleteInForeground deletes a PlexLink as Argo CD does.
func (w *world) deleteInForeground(name string) {
	w.Helper()
	if err := admin.Delete(w.Context(), w.link(name), client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
		w.Fatal(err)
	}
}

// Fault A8: Retain keeps the Secret in use, even if a renaming was not handled before the deletion.
func TestRetainKeepsTheSecretThatIsInUse(t *testing.T) {
	t.Parallel()
	for name, rename := range map[string]func(*world){
		"suspended": func(w *world) {
			w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Suspend = true })
			w.reaches("kometa", v1alpha1.ReasonSuspended)
			w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Secret.Name = "new" })
			w.reaches("kometa", v1alpha1.ReasonSuspended)
		},
		"conflict": func(w *world) {
			if err := admin.Create(w.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "new", Namespace: w.namespace}}); err != nil {
				w.Fatal(err)
			}
			w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Secret.Name = "new" })
			w.reaches("kometa", v1alpha1.ReasonSecretConflict)
		},
	} {
		for how, deletion := range map[string]metav1.DeletionPropagation{
			"background": metav1.DeletePropagationBackground, "foreground": metav1.DeletePropagationForeground,
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.withGarbageCollector()
				w.startOperator()
				w.linked("kometa", retain)
				w.settled("kometa")
				rename(w)
				before := w.secret("kometa")
				w.leaves("kometa", "kometa-plexlink-device")
				if err := admin.Delete(t.Context(), w.link("kometa"), client.PropagationPolicy(deletion)); err != nil {
					t.Fatal(err)
				}
				w.isGone("kometa")
				w.withGarbageCollector()
				if w.secret("kometa-plexlink-device") == nil || w.secret("kometa") == nil || w.secret("kometa").UID != before.UID {
					t.Fatal("a Secret was deleted, want both kept")
				}
				checkSecretOpensServer(t, w.secret("kometa"))
			})
		}
	}
}

// Fault A8: the policy at the time of the deletion counts, even if a suspended link has not handled it.
func TestPolicyThatBecomesRetainWhileSuspendedKeepsTheSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.withGarbageCollector()
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Suspend = true })
	w.reaches("kometa", v1alpha1.ReasonSuspended)
	w.change("kometa", retain)
	w.reaches("kometa", v1alpha1.ReasonSuspended)
	w.leaves("kometa", "kometa-plexlink-device")
	w.delete("kometa")
	w.isGone("kometa")
	w.withGarbageCollector()
	w.hasExactly("kometa", "kometa-plexlink-device")
	checkSecretOpensServer(t, w.secret("kometa"))
}

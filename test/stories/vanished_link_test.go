package stories

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/controller"
	"plexlink.dev/operator/internal/plex/plextest"
)

// patch sends a merge patch for a PlexLink.
func (w *world) patch(name, patch string) {
	w.Helper()
	if err := admin.Patch(w.Context(), w.link(name), client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		w.Fatal(err)
	}
}

var withoutFinalizers = client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))

// vanish removes the finalizer of a PlexLink and deletes it at once: the operator has no time to put it back.
func (w *world) vanish(name string) {
	w.Helper()
	link := w.link(name)
	if err := admin.Delete(w.Context(), link); err != nil {
		w.Fatal(err)
	}
	if err := admin.Patch(w.Context(), link, withoutFinalizers); client.IgnoreNotFound(err) != nil {
		w.Fatal(err)
	}
}

// Fault A5: the finalizer is restored, however another client removed it.
func TestFinalizerThatIsRemovedIsPutBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	manifest := filepath.Join(t.TempDir(), "link.yaml")
	text := fmt.Sprintf("apiVersion: plexlink.dev/v1alpha1\nkind: PlexLink\nmetadata: {name: kometa, namespace: %s}\nspec: {}\n", w.namespace)
	if err := os.WriteFile(manifest, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w.kubectl("create", "-f", manifest)
	w.enterPIN("kometa")
	w.reaches("kometa", v1alpha1.ReasonLinked)
	w.settled("kometa")
	for name, remove := range map[string]func(){
		"kubectl replace": func() { w.kubectl("replace", "-f", manifest) },
		"a patch":         func() { w.patch("kometa", `{"metadata":{"finalizers":null}}`) },
	} {
		before := w.link("kometa").ResourceVersion
		remove()
		w.eventually("the finalizer after "+name, func() error {
			if link := w.link("kometa"); link.ResourceVersion == before || !slices.Contains(link.Finalizers, v1alpha1.Finalizer) {
				return fmt.Errorf("got the finalizers %q", link.Finalizers)
			}
			return nil
		})
	}
	w.delete("kometa")
	w.isGone("kometa")
	if got := w.sim.Count(plextest.SignOut); got != 1 {
		t.Errorf("got %d sign-outs, want one", got)
	}
	w.hasExactly()
}

// Fault A5: a link deleted without its finalizer is cleaned up from memory.
func TestLinkThatVanishesIsSignedOutAndItsSecretsAreDeleted(t *testing.T) {
	t.Parallel()
	for name, vanish := range map[string]func(w *world, blind *atomic.Bool){
		"stripped, then deleted": func(w *world, blind *atomic.Bool) {
			blind.Store(true) // Otherwise the operator would restore the finalizer before the deletion.
			w.patch("kometa", `{"metadata":{"finalizers":null}}`)
			w.delete("kometa")
			w.isGone("kometa")
			blind.Store(false)
		},
		"deleted and stripped at once": func(w *world, _ *atomic.Bool) {
			w.vanish("kometa")
			w.isGone("kometa")
		},
		"deleted and recreated": func(w *world, blind *atomic.Bool) {
			blind.Store(true)
			w.patch("kometa", `{"metadata":{"finalizers":null}}`)
			w.delete("kometa")
			w.create("kometa")
			blind.Store(false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var blind atomic.Bool
			o := w.startOperator(func(o *operator) {
				o.fail = func(r *http.Request) error {
					if blind.Load() && isWrite(http.MethodPatch, "/plexlinks/kometa")(r) {
						return errors.New("connection refused")
					}
					return nil
				}
			})
			first := w.linked("kometa")
			w.settled("kometa")
			token := w.accountToken("kometa")
			vanish(w, &blind)
			w.eventually("the sign-out", func() error {
				if opensPlexTV(w, token) {
					return errors.New("the token is still valid")
				}
				return nil
			})
			if name == "deleted and recreated" {
				if link := w.awaitsPIN("kometa"); link.UID == first.UID {
					t.Fatal("got the first link, want the second")
				}
				w.eventually("the first Secret to be deleted", func() error {
					if secret := w.secret("kometa"); secret != nil && secret.Labels[v1alpha1.UIDLabel] == string(first.UID) {
						return errors.New("it still exists")
					}
					return nil
				})
				w.delete("kometa")
			}
			w.hasExactly()
			w.remembers(o, 0)
		})
	}
}

// remembers waits until the operator remembers a number of links, and no other PIN.
func (w *world) remembers(o *operator, links int) {
	w.Helper()
	w.eventually(fmt.Sprintf("a memory of %d links", links), func() error {
		for metric, most := range map[string]int{"plexlink_remembered_links": links, "plexlink_pins_open": links, "plexlink_pin_queue_length": links} {
			if got, err := o.gauge(metric); err != nil || int(got) > most {
				return fmt.Errorf("got %s %v, want at most %d (%v)", metric, got, most, err)
			}
		}
		return nil
	})
}

// Fault A5: vanished links kept their places in the queue forever.
func TestVanishedLinksGiveTheirPlacesToOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.startOperator()
	var names []string
	for i := range openPINs {
		names = append(names, fmt.Sprintf("ghost-%d", i))
		w.create(names[i])
	}
	for _, name := range names {
		w.awaitsPIN(name)
	}
	w.create("eleventh")
	w.reaches("eleventh", v1alpha1.ReasonQueued)
	for _, name := range names {
		w.vanish(name)
	}
	w.enterPIN("eleventh")
	w.reaches("eleventh", v1alpha1.ReasonLinked)
	w.hasExactly("eleventh", "eleventh-plexlink-device")
	w.remembers(o, 1)
	w.delete("eleventh")
	w.isGone("eleventh")
	w.remembers(o, 0)
}

// Fault A5: a link with the policy Retain that vanishes keeps its token and its Secrets.
func TestRetainedLinkThatVanishesKeepsItsSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.startOperator()
	w.linked("kometa", func(l *v1alpha1.PlexLink) { l.Spec.DeletionPolicy = v1alpha1.DeletionPolicyRetain })
	w.settled("kometa")
	w.vanish("kometa")
	w.isGone("kometa")
	w.remembers(o, 0)
	w.leaves("kometa", "kometa-plexlink-device")
	w.hasExactly("kometa", "kometa-plexlink-device")
	checkSecretOpensServer(t, w.secret("kometa"))
	if got := w.sim.Count(plextest.SignOut); got != 0 {
		t.Errorf("got %d sign-outs, want none", got)
	}
}

// Fault A5: a link released by `manager --uninstall` stays signed in, even if it is deleted right away.
func TestReleasedLinkIsNotSignedOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.startOperator()
	names := []string{"link-0", "link-1", "link-2"}
	var tokens []string
	for _, name := range names {
		w.linked(name)
		w.settled(name)
		tokens = append(tokens, w.accountToken(name))
		w.leaves(name, name+v1alpha1.DeviceSecretSuffix) // The garbage collector would delete the first.
	}
	if count, err := controller.Release(t.Context(), admin, w.clock.Now(), w.namespace); err != nil || count != len(names) {
		t.Fatalf("got %d links released (%v), want %d", count, err, len(names))
	}
	for _, name := range names {
		w.delete(name)
		w.isGone(name)
	}
	w.remembers(o, 0)
	for i, name := range names {
		if w.secret(name+v1alpha1.DeviceSecretSuffix) == nil || !opensPlexTV(w, tokens[i]) {
			t.Errorf("%s: the device Secret or its token is gone, want both kept", name)
		}
	}
	if got := w.sim.Count(plextest.SignOut); got != 0 {
		t.Errorf("got %d sign-outs, want none", got)
	}
	for _, request := range o.written() {
		if strings.HasPrefix(request, "DELETE ") {
			t.Errorf("got %s, want no Secret deleted", request)
		}
	}
}

// The link is replaced by a new one of its name while plex.tv mints its PIN. The new one never shows that PIN, which is
// forgotten with the old one.
func TestNewLinkDoesNotShowThePINOfAVanishedOneOfItsName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	links := w.recordLinks()
	w.startOperator()
	w.sim.Fault(plextest.Fault{Endpoint: plextest.CreatePIN, Delay: time.Second})
	old := w.create("kometa")
	w.eventually("the request for a PIN", func() error {
		if w.sim.Count(plextest.CreatePIN) == 0 {
			return errNotYet
		}
		return nil
	})
	if err := errors.Join(admin.Delete(t.Context(), old), admin.Patch(t.Context(), old, withoutFinalizers)); err != nil {
		t.Fatal(err)
	}
	w.create("kometa")
	w.eventually("a second PIN", func() error {
		if len(w.sim.PINs()) < 2 {
			return errNotYet
		}
		return nil
	})
	w.awaitsPIN("kometa")
	_, versions := links.of("kometa")
	for _, link := range versions {
		if pin := link.Status.PIN; link.UID != old.UID && pin != nil && pin.Code == w.sim.PINs()[0].Code {
			t.Errorf("got the PIN of the vanished link in version %s of the new one, want its own", link.ResourceVersion)
		}
	}
}

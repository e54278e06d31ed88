package stories

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// Fault A18: a Secret that another tool restored kept keys that were later removed from the template.
func TestRestoredSecretHasExactlyTheKeysOfTheTemplate(t *testing.T) {
	t.Parallel()
	for name, running := range map[string]bool{"operator up": true, "operator down": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := w.startOperator()
			keys := func(names ...string) func(*v1alpha1.PlexLink) {
				return func(l *v1alpha1.PlexLink) {
					l.Spec.Secret.Template = &v1alpha1.SecretTemplate{Data: map[string]v1alpha1.TemplateText{}}
					for _, name := range names {
						l.Spec.Secret.Template.Data[name] = "{{ .Token }}"
					}
				}
			}
			w.linked("kometa", keys("OLD", "SAME"))
			w.settled("kometa")
			device, target := w.secret("kometa-plexlink-device"), w.secret("kometa")
			o.stop()
			w.change("kometa", func(l *v1alpha1.PlexLink) { l.Finalizers = nil })
			for _, object := range []client.Object{w.link("kometa"), device, target} {
				if err := client.IgnoreNotFound(admin.Delete(t.Context(), object)); err != nil { // It may have been garbage-collected.
					t.Fatal(err)
				}
			}
			if running {
				w.startOperator()
			}
			target.Data["VELERO"] = []byte("added by the tool")
			target.Labels["velero.io/restore-name"] = "nightly"
			for _, s := range []*corev1.Secret{device, target} {
				s.ObjectMeta = metav1.ObjectMeta{
					Name: s.Name, Namespace: s.Namespace, Labels: s.Labels, Annotations: s.Annotations, OwnerReferences: s.OwnerReferences,
				}
				if err := admin.Create(t.Context(), s, client.FieldOwner("velero")); err != nil {
					t.Fatal(err)
				}
			}
			w.create("kometa", keys("OLD", "SAME"))
			if !running {
				w.startOperator()
			}
			w.reaches("kometa", v1alpha1.ReasonLinked)
			w.change("kometa", keys("SAME", "NEW"))
			w.eventually("the new content", func() error {
				if got, want := slices.Sorted(maps.Keys(w.secret("kometa").Data)), []string{"NEW", "SAME"}; !slices.Equal(got, want) {
					return fmt.Errorf("got the keys %q, want %q", got, want)
				}
				return nil
			})
			w.reaches("kometa", v1alpha1.ReasonLinked)
			if n := len(w.sim.PINs()); n != 1 {
				t.Errorf("got %d PINs, want the first only", n)
			}
		})
	}
}

const strangersIdentifier = "identifier-of-a-stranger"

// askPlexTV sends a request from a stranger's device.
func (w *world) askPlexTV(method, path string) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), method, w.sim.URL+"/api/v2"+path, nil)
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("X-Plex-Client-Identifier", strangersIdentifier)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	_ = resp.Body.Close()
}

// plant creates a device Secret like the operator's, with the labels of a link, as anyone who can create Secrets may.
func (w *world) plant(link string, uid types.UID, data map[string]string) {
	w.Helper()
	planted := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: link + v1alpha1.DeviceSecretSuffix, Namespace: w.namespace, Labels: map[string]string{
				v1alpha1.ManagedByLabel: v1alpha1.ManagedBy, v1alpha1.NameLabel: link, v1alpha1.UIDLabel: string(uid),
			},
		},
		Type: v1alpha1.DeviceSecretType, StringData: data,
	}
	if err := admin.Create(w.Context(), planted, client.FieldOwner(v1alpha1.ManagedBy)); err != nil {
		w.Fatal(err)
	}
}

// plantedState returns the state that a stranger plants, with or without a PIN.
func plantedState(pin *plextest.PIN) map[string]string {
	if pin == nil {
		return map[string]string{keyClientIdentifier: strangersIdentifier, keyState: "{}"}
	}
	text, err := json.Marshal(map[string]any{
		"pin": map[string]any{"code": pin.Code, "expirationTime": pin.ExpiresAt.UTC().Truncate(time.Second)}, "unentered": 1,
	})
	if err != nil {
		panic(err)
	}
	return map[string]string{keyClientIdentifier: strangersIdentifier, keyPINID: fmt.Sprint(pin.ID), keyState: string(text)}
}

// Fault D1: anyone with the right to create Secrets could plant a device Secret with a PIN or identifier of their own.
func TestPlantedPINOrIdentifierIsNotAdopted(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		withPIN bool
		// exists means that the link already exists, without a device Secret; the planted one then has its UID.
		exists bool
	}{
		"a PIN, before the link exists":                   {withPIN: true},
		"an identifier, before the link exists":           {},
		"a PIN, while the link has no device yet":         {withPIN: true, exists: true},
		"an identifier, while the link has no device yet": {exists: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var pin *plextest.PIN
			if row.withPIN {
				w.askPlexTV(http.MethodPost, "/pins")
				pin = &w.sim.PINs()[0]
			}
			uid := types.UID("00000000-0000-0000-0000-000000000000")
			if row.exists {
				uid = w.create("kometa").UID
			}
			w.plant("kometa", uid, plantedState(pin))
			if !row.exists {
				w.create("kometa")
			}
			w.startOperator()
			link := w.awaitsPIN("kometa")
			if pin != nil && link.Status.PIN.Code == pin.Code {
				t.Error("the status shows the stranger's PIN, want the link's own")
			}
			if got := string(w.secret("kometa-plexlink-device").Data[keyClientIdentifier]); got == strangersIdentifier {
				t.Error("the stranger's identifier is in use, want the link's own")
			}
			w.enterPIN("kometa")
			w.reaches("kometa", v1alpha1.ReasonLinked)
			for _, p := range w.sim.PINs() {
				if p.ClientIdentifier == strangersIdentifier && p.Token != "" {
					t.Error("the stranger's device got a token, want none")
				}
			}
			w.hasNoEvent("Adopted")
		})
	}
}

// Fault D1: a planted token is adopted, and an event names its account.
func TestPlantedTokenIsAdoptedWithAnEventThatNamesItsAccount(t *testing.T) {
	t.Parallel()
	for name, exists := range map[string]bool{"before the link exists": false, "while the link has no device yet": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			mallory := w.sim.AddAccount("mallory")
			w.sim.AddServer(plextest.Server{Name: "Mallory's", Owner: mallory})
			planted := plantedState(nil)
			planted[keyToken] = w.sim.SignIn(mallory, strangersIdentifier)
			planted[keyState] = `{"account":{"Username":"alice","UUID":"0"}}`
			uid := types.UID("00000000-0000-0000-0000-000000000000")
			if exists {
				uid = w.create("kometa").UID
			}
			w.plant("kometa", uid, planted)
			if !exists {
				w.create("kometa")
			}
			w.sim.Fault(plextest.Fault{Endpoint: plextest.User, Status: 503, Times: 2}) // It is not taken over before its account is known.
			w.startOperator()
			link := w.reaches("kometa", v1alpha1.ReasonLinked)
			w.hasEvent("Adopted", "mallory")
			if link.Status.Account == nil || link.Status.Account.Username != "mallory" {
				t.Errorf("got the account %+v, want mallory", link.Status.Account)
			}
		})
	}
}

// Fault D1: spec.account makes a planted token of another account useless.
func TestPlantedTokenOfAnotherAccountIsNotUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mallory := w.sim.AddAccount("mallory")
	w.sim.AddServer(plextest.Server{Name: "Mallory's", Owner: mallory})
	token := w.sim.SignIn(mallory, strangersIdentifier)
	planted := plantedState(nil)
	planted[keyToken] = token
	planted[keyState] = fmt.Sprintf(`{"account":{"Username":"alice","UUID":%q}}`, w.alice.UUID)
	w.plant("kometa", "00000000-0000-0000-0000-000000000000", planted)
	w.create("kometa", onlyFor(v1alpha1.AccountSpec{Username: "alice"}))
	secrets := w.recordSecrets()
	w.startOperator()
	w.reaches("kometa", v1alpha1.ReasonWrongAccount)
	if w.secret("kometa") != nil {
		t.Error("got a Secret with the token of another account, want none")
	}
	w.enterPINAs("kometa", w.alice)
	link := w.reaches("kometa", v1alpha1.ReasonLinked)
	if link.Status.Account.Username != "alice" || link.Status.Server.Name != "My Plex Server" {
		t.Errorf("got the account %+v and the server %+v, want alice's", link.Status.Account, link.Status.Server)
	}
	w.eventually("the planted token to be revoked", func() error {
		if opensPlexTV(w, token) {
			return errors.New("it is still valid")
		}
		return nil
	})
	_, versions := secrets.of("kometa")
	for _, secret := range versions {
		if string(secret.Data["PLEX_TOKEN"]) == token {
			t.Error("the Secret for apps had the planted token, want it never written")
		}
	}
	checkSecretOpensServer(t, w.secret("kometa"))
}

// A replacement of the PlexLink that leaves out the finalizer makes it look like a new one. What tells it from that is the PIN
// in its status.
func TestPINThatIsShownStaysThoughTheFinalizerWasRemovedWhileTheOperatorWasDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.startOperator()
	w.create("kometa")
	w.showsPIN("kometa")
	first.stop()
	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Finalizers = nil })
	w.startOperator()
	w.enterPIN("kometa")
	w.areLinked("kometa")
	if pins := w.sim.PINs(); len(pins) != 1 {
		t.Errorf("got %d PINs, want the one that was shown", len(pins))
	}
}

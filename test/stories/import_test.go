package stories

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// importing sets spec.device.importSecretRef to the Secret backup.
func importing(l *v1alpha1.PlexLink) {
	l.Spec.Device.ImportSecretRef = &v1alpha1.SecretReference{Name: "backup"}
}

// backUp creates or replaces the Secret backup with the values of a link. Empty values are omitted.
func (w *world) backUp(identifier, token string) {
	w.Helper()
	secret := w.secret("backup")
	if secret == nil {
		secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "backup", Namespace: w.namespace}}
		if err := admin.Create(w.Context(), secret); err != nil {
			w.Fatal(err)
		}
	}
	secret.Data = map[string][]byte{}
	for key, value := range map[string]string{keyClientIdentifier: identifier, keyToken: token} {
		if value != "" {
			secret.Data[key] = []byte(value)
		}
	}
	if err := admin.Update(w.Context(), secret); err != nil {
		w.Fatal(err)
	}
}

// checkImported checks that a link uses a token, and that no PIN was needed.
func checkImported(w *world, name, token string) {
	w.Helper()
	if got := w.accountToken(name); got != token {
		w.Error("got another token, want the imported one")
	}
	if n := w.sim.Count(plextest.CreatePIN); n != 0 {
		w.Errorf("got %d PINs, want none", n)
	}
	checkSecretOpensServer(w, w.secret(name))
}

func TestClusterThatIsRebuiltImportsItsLinkWithoutAPIN(t *testing.T) {
	t.Parallel()
	old := newWorld(t)
	operator := old.startOperator()
	old.linked("kometa", func(l *v1alpha1.PlexLink) { l.Spec.DeletionPolicy = v1alpha1.DeletionPolicyRetain })
	old.settled("kometa")
	device := old.secret("kometa-plexlink-device")
	old.delete("kometa")
	old.isGone("kometa")
	for _, secret := range old.secrets() {
		if err := admin.Delete(t.Context(), &secret); err != nil {
			t.Fatal(err)
		}
	}
	operator.stop()
	identifier, token := string(device.Data[keyClientIdentifier]), string(device.Data[keyToken])
	old.ignoreToken(token, "it is still used in another namespace")

	w := newWorld(t) // Another cluster, the same plex.tv.
	w.sim, w.clock, w.network, w.alice, w.server = old.sim, old.clock, old.network, old.alice, old.server
	w.sim.ResetRequests()
	w.backUp(identifier+"\n", token+"\r\n") // With newlines, as people and tools write files.
	w.startOperator()
	w.create("plex", importing)
	if link := w.reaches("plex", v1alpha1.ReasonLinked); link.Status.Account.Username != "alice" || link.Status.PIN != nil {
		t.Errorf("got the status %+v, want alice and no PIN", link.Status)
	}
	checkImported(w, "plex", token)
	if got := string(w.secret("plex-plexlink-device").Data[keyClientIdentifier]); got != identifier {
		t.Error("got another client identifier, want the imported one")
	}
	w.hasEvent("Imported", "Imported the token of alice from Secret backup")
	w.delete("plex")
	w.isGone("plex")
	if n := w.sim.Count(plextest.SignOut); n != 1 {
		t.Errorf("got %d sign-outs for the deletion, want one", n)
	}
}

func TestImportedTokenThatPlexRefusesIsReportedAndAPINIsOffered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.backUp("an-old-device", "a-token-of-last-year")
	w.create("kometa", importing)
	code := w.showsPIN("kometa")
	link := w.reaches("kometa", v1alpha1.ReasonImportRefused)
	want := "plex.tv does not accept the token of Secret backup; put a working one there, or link again; Enter " + code + " at "
	if !strings.HasPrefix(message(link), want) {
		t.Errorf("got the message %q, want %q", message(link), want)
	}
	w.hasEvent(v1alpha1.ReasonImportRefused, "Secret backup")
	if n := w.sim.Count(plextest.User); n != 1 {
		t.Errorf("got %d attempts to import, want one", n)
	}
	w.enterPINAs("kometa", w.alice)
	if link := w.reaches("kometa", v1alpha1.ReasonLinked); strings.Contains(message(link), "backup") {
		t.Errorf("got the message %q, want no mention of the import", message(link))
	}
	checkSecretOpensServer(t, w.secret("kometa"))
}

func TestImportedTokenOfAnotherAccountIsRefusedAndNotSignedOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.sim.AddAccount("bob")
	token := w.sim.SignIn(bob, "device-of-bob")
	w.ignoreToken(token, "it belongs to another device of bob's")
	w.backUp("device-of-bob", token)
	w.startOperator()
	w.create("kometa", importing, onlyFor(v1alpha1.AccountSpec{Username: "alice"}))
	code := w.showsPIN("kometa")
	link := w.reaches("kometa", v1alpha1.ReasonImportRefused)
	want := "The token of Secret backup belongs to bob, but spec.account asks for alice; Enter " + code + " at "
	if !strings.HasPrefix(message(link), want) {
		t.Errorf("got the message %q, want %q", message(link), want)
	}
	w.enterPINAs("kometa", w.alice)
	w.reaches("kometa", v1alpha1.ReasonLinked)
	if n := w.sim.Count(plextest.SignOut); n != 0 {
		t.Errorf("got %d sign-outs, want none: bob's token is in use elsewhere", n)
	}
	for key, value := range w.secret("kometa-plexlink-device").Data {
		if string(value) == token || string(value) == "device-of-bob" {
			t.Errorf("got bob's value in key %s of the device Secret", key)
		}
	}
}

func TestImportWaitsForItsSecretAndUsesItWithinTenSeconds(t *testing.T) {
	t.Parallel()
	const incomplete = "Secret backup of spec.device.importSecretRef needs the keys client-identifier and token, each with printable characters without spaces"
	for name, row := range map[string]struct {
		prepare func(w *world, identifier, token string)
		want    string
	}{
		"missing": {func(*world, string, string) {},
			"Secret backup of spec.device.importSecretRef does not exist; create it with the keys client-identifier and token, or remove importSecretRef"},
		"without a token":       {func(w *world, identifier, _ string) { w.backUp(identifier, "") }, incomplete},
		"without an identifier": {func(w *world, _, token string) { w.backUp("", token) }, incomplete},
		"not fit for a header":  {func(w *world, identifier, token string) { w.backUp(identifier, token+"\nX-Plex-Token: x") }, incomplete},
		"with a blank token":    {func(w *world, identifier, _ string) { w.backUp(identifier, " \n") }, incomplete},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			token := w.sim.SignIn(w.alice, "a-device")
			row.prepare(w, "a-device", token)
			o := w.startOperator()
			w.create("kometa", importing)
			link := w.reaches("kometa", v1alpha1.ReasonImportUnavailable)
			if message(link) != row.want {
				t.Errorf("got the message %q, want %q", message(link), row.want)
			}
			if n := o.count("", "/api/v2/"); n != 0 || link.Status.PIN != nil {
				t.Errorf("got %d requests to plex.tv or the PIN %v, want neither", n, link.Status.PIN)
			}
			start := time.Now()
			w.backUp("a-device", token)
			w.reaches("kometa", v1alpha1.ReasonLinked)
			if took := time.Since(start); took > 12*time.Second { // ten, and a reserve for a busy machine
				t.Errorf("the Secret was imported after %s, want at most 10s", took)
			}
			checkImported(w, "kometa", token)
		})
	}
}

func TestImportWaitsForPlexAndSurvivesAKill(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"plex.tv is down", "killed before it is stored"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			token := w.sim.SignIn(w.alice, "a-device")
			w.backUp("a-device", token)
			var proven atomic.Bool
			first := w.startOperator(func(o *operator) {
				o.diesBefore = func(r *http.Request) bool {
					if strings.HasSuffix(r.URL.Path, "/api/v2/user") {
						proven.Store(true)
					}
					return name != "plex.tv is down" && proven.Load() && r.Method == http.MethodPatch
				}
			})
			if name == "plex.tv is down" {
				w.sim.Fault(plextest.Fault{Endpoint: plextest.User, Status: http.StatusBadGateway, Times: 2})
				w.create("kometa", importing)
				w.reaches("kometa", v1alpha1.ReasonPlexUnavailable)
			} else {
				w.create("kometa", importing)
				<-first.died
				first.kill()
				w.startOperator()
			}
			w.reaches("kometa", v1alpha1.ReasonLinked)
			checkImported(w, "kometa", token)
		})
	}
}

func TestSecretIsImportedOnceAndAgainWhenItChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.backUp("a-device", w.sim.SignIn(w.alice, "a-device"))
	w.startOperator()
	w.create("kometa", importing)
	w.reaches("kometa", v1alpha1.ReasonLinked)
	w.sim.RevokeTokens(w.alice)
	w.request("kometa", v1alpha1.RefreshRequestedAtAnnotation)
	w.reaches("kometa", v1alpha1.ReasonTokenRevoked)
	code := w.showsPIN("kometa")
	w.sim.ResetRequests()
	w.advance(15*time.Minute + time.Second)
	w.showsAnotherPIN("kometa", code)
	if n := w.sim.Count(plextest.User); n != 0 {
		t.Errorf("got %d more attempts to import the same Secret, want none", n)
	}

	token := w.sim.SignIn(w.alice, "a-device")
	w.backUp("a-device", token)
	w.sim.ResetRequests()
	w.advance(15*time.Minute + time.Second) // An open PIN takes precedence: it may have been entered.
	w.reaches("kometa", v1alpha1.ReasonLinked)
	checkImported(w, "kometa", token)
}

func TestChangedImportSecretIsUsedAfterEightExpiredPINs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.backUp("a-device", "a-token-of-last-year")
	w.startOperator()
	w.create("kometa", importing)
	w.letPINsExpire("kometa")
	if got := message(w.reaches("kometa", v1alpha1.ReasonPINExpired)); !strings.Contains(got, "Secret backup") {
		t.Errorf("got the message %q, want the refused import in it", got)
	}
	w.sim.ResetRequests()
	token := w.sim.SignIn(w.alice, "a-device")
	start := time.Now()
	w.backUp("a-device", token)
	w.eventually("the import", func() error {
		if w.link("kometa").Status.Server == nil {
			return errors.New(message(w.link("kometa")))
		}
		return nil
	})
	if took := time.Since(start); took > 12*time.Second {
		t.Errorf("the Secret was imported after %s, want at most 10s", took)
	}
	w.reaches("kometa", v1alpha1.ReasonLinked)
	checkImported(w, "kometa", token)
}

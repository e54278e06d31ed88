package stories

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

func TestEnteringThePINCreatesTheSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.create("kometa")
	link := w.awaitsPIN("kometa")
	if want := "Enter " + link.Status.PIN.Code + " at " + w.sim.URL + "/link before "; !strings.HasPrefix(message(link), want) {
		t.Errorf("got the message %q, want it to begin with %q", message(link), want)
	}
	if w.secret("kometa") != nil {
		t.Error("got a Secret before the PIN was entered, want none")
	}
	w.hasEvent("PINIssued", link.Status.PIN.Code)

	w.enterPIN("kometa")
	link = w.reaches("kometa", v1alpha1.ReasonLinked)
	secret := w.secret("kometa")
	if got := string(secret.Data["PLEX_URL"]); got != w.server.URL {
		t.Errorf("got PLEX_URL %q, want %q", got, w.server.URL)
	}
	checkSecretOpensServer(t, secret)
	if len(secret.Data) != 2 || secret.Labels[v1alpha1.UIDLabel] != string(link.UID) || secret.OwnerReferences[0].UID != link.UID {
		t.Errorf("got a Secret with %d keys, labels %v, owners %v; want 2 keys and the link's UID", len(secret.Data), secret.Labels, secret.OwnerReferences)
	}
	if link.Status.PIN != nil || link.Status.Account.Username != "alice" || link.Status.Server.URL != w.server.URL || link.Status.SecretName != "kometa" {
		t.Errorf("got the status %+v, want alice, her server and the Secret, and no PIN", link.Status)
	}
	for _, reason := range []string{"PINEntered", "ServerChosen", "SecretCreated", "Linked"} {
		w.hasEvent(reason, "")
	}
	if table := w.kubectl("get", "plexlink", "kometa"); !strings.Contains(table, "Linked") || !strings.Contains(table, "My Plex Server") {
		t.Errorf("got Linked or the server missing from kubectl get:\n%s", table)
	}
}

// checkSecretOpensServer calls the media server with the URL and token in the Secret.
func checkSecretOpensServer(t testing.TB, secret *corev1.Secret) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, string(secret.Data["PLEX_URL"])+"/library/sections", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Plex-Token", string(secret.Data["PLEX_TOKEN"]))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("got %s from the media server for the Secret's URL and token, want 200", resp.Status)
	}
}

// It runs alone: a second is short on a busy machine.
func TestPINIsInKubectlGetWithinASecondOfApply(t *testing.T) {
	w := newWorld(t)
	w.startOperator()
	w.linked("first") // Waits until the operator is up.
	start := time.Now()
	w.create("kometa")
	link := w.awaitsPIN("kometa")
	if took := time.Since(start); took > time.Second {
		t.Errorf("the PIN was shown after %s, want at most a second", took)
	}
	if table := w.kubectl("get", "plexlink", "kometa"); !strings.Contains(table, link.Status.PIN.Code) {
		t.Errorf("got the PIN missing from kubectl get:\n%s", table)
	}
}

func TestAtMostEightWritesFromApplyToSettledThenNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.startOperator()
	w.create("kometa")
	w.awaitsPIN("kometa")
	atPIN := len(o.written())
	polls := w.sim.Count(plextest.CheckPIN)
	w.eventually("ten idle polls", func() error {
		if got := w.sim.Count(plextest.CheckPIN); got < polls+10 {
			return fmt.Errorf("got %d polls", got-polls)
		}
		return nil
	})
	if got := len(o.written()); got != atPIN {
		t.Errorf("got %d writes for ten idle polls, want none: %q", got-atPIN, o.written()[atPIN:])
	}
	w.enterPIN("kometa")
	w.reaches("kometa", v1alpha1.ReasonLinked)
	w.settled("kometa")
	writes := o.written()
	if len(writes) > 8 {
		t.Errorf("got %d writes from apply to settled, want at most 8: %q", len(writes), writes)
	}
	w.poke()
	w.linked("tautulli") // Gives the operator time to write more.
	for _, write := range o.written()[len(writes):] {
		if strings.Contains(write, "kometa") {
			t.Errorf("got %s for a settled link, want no more writes", write)
		}
	}
}

func TestKillAtAnyMomentOfLinkingLosesNothing(t *testing.T) {
	t.Parallel()
	writesTo := func(method, suffix string) func(*http.Request) bool {
		return func(r *http.Request) bool { return r.Method == method && strings.HasSuffix(r.URL.Path, suffix) }
	}
	var entered, collected atomic.Bool
	for name, diesBefore := range map[string]func(*http.Request) bool{
		"before the PIN is shown": writesTo(http.MethodPatch, "/status"),
		"after the claim, before the token is stored": func(r *http.Request) bool {
			return entered.Load() && writesTo(http.MethodPatch, "/kometa-plexlink-device")(r)
		},
		"after the token is stored": writesTo(http.MethodGet, "/resources"),
		"before the Secret is written": func(r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/resources") {
				collected.Store(true)
			}
			return collected.Load() && writesTo(http.MethodPost, "/secrets")(r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			entered.Store(false)
			w := newWorld(t)
			first := w.startOperator(func(o *operator) { o.diesBefore = diesBefore })
			w.create("kometa")
			if name != "before the PIN is shown" {
				w.awaitsPIN("kometa")
				entered.Store(true)
				w.enterPIN("kometa")
			}
			<-first.died
			first.kill()
			w.startOperator()
			if name == "before the PIN is shown" {
				w.enterPIN("kometa")
			}
			w.reaches("kometa", v1alpha1.ReasonLinked)
			checkSecretOpensServer(t, w.secret("kometa"))
			if pins := w.sim.PINs(); len(pins) != 1 {
				t.Errorf("got %d PINs, want one", len(pins))
			}
		})
	}
}

func TestExpiredPINIsReplacedAfterALastPoll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.create("kometa")
	first := w.awaitsPIN("kometa").Status.PIN.Code
	w.advance(15 * time.Minute)
	w.eventually("a new PIN", func() error {
		if pin := w.link("kometa").Status.PIN; pin == nil || pin.Code == first {
			return errors.New("it is the old one")
		}
		return nil
	})
	w.enterPIN("kometa")
	w.reaches("kometa", v1alpha1.ReasonLinked)
}

func TestPINEnteredInTheLastSecondLinks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.startOperator()
	w.create("kometa")
	link := w.awaitsPIN("kometa")
	o.kill() // Nothing polls until then.
	w.clock.advance(15*time.Minute - 2*time.Second)
	if err := w.sim.Link(link.Status.PIN.Code, w.alice); err != nil {
		t.Fatal(err)
	}
	w.clock.advance(3 * time.Second)
	w.startOperator()
	w.reaches("kometa", v1alpha1.ReasonLinked)
	if pins := w.sim.PINs(); len(pins) != 1 {
		t.Errorf("got %d PINs, want one", len(pins))
	}
}

func TestOnlyTheProvenAddressIsWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stranger := w.sim.AddServer(plextest.Server{Name: "Stranger"})
	w.network.Listeners = map[string]string{"192.168.1.100:32400": w.server.Addr, "10.42.0.1:32400": stranger.Addr}
	w.server.SetConnections(
		plextest.LocalConnection("http://172.17.0.1:32400"),
		plextest.LocalConnection("http://10.42.0.1:32400"),
		plextest.LocalConnection("https://192-168-1-100.0123456789abcdef.plex.direct:32400"),
		plextest.LocalConnection("http://192.168.1.100:32400"),
	)
	w.startOperator()
	w.create("kometa")
	w.enterPIN("kometa")
	start := time.Now()
	w.reaches("kometa", v1alpha1.ReasonLinked)
	if took := time.Since(start); took > 6*time.Second { // one poll and one timeout, on a busy machine
		t.Errorf("linked after %s, want at most 6s", took)
	}
	if got := string(w.secret("kometa").Data["PLEX_URL"]); got != "http://192.168.1.100:32400" {
		t.Errorf("got PLEX_URL %q, want http://192.168.1.100:32400", got)
	}
	for _, r := range w.sim.Requests() {
		if r.Server == "Stranger" && (r.Token != "" || r.ClientIdentifier != "") {
			t.Errorf("a secret was sent to the stranger at %s", r.Endpoint)
		}
	}
}

func TestForeignSecretIsNeverTouched(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"kometa", "kometa-plexlink-device"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			foreign := &corev1.Secret{Data: map[string][]byte{"password": []byte("precious")}}
			foreign.Name, foreign.Namespace = name, w.namespace
			if err := admin.Create(t.Context(), foreign); err != nil {
				t.Fatal(err)
			}
			w.startOperator()
			w.create("kometa")
			link := w.reaches("kometa", v1alpha1.ReasonSecretConflict)
			if !strings.Contains(message(link), "delete") {
				t.Errorf("got the message %q, want it to say what to do", message(link))
			}
			w.hasEvent(v1alpha1.ReasonSecretConflict, name)
			if len(w.sim.PINs()) != 0 {
				t.Error("got a PIN despite the conflict, want none")
			}
			if got := w.secret(name); got.ResourceVersion != foreign.ResourceVersion {
				t.Errorf("the foreign Secret changed: %v", got.ManagedFields)
			}
			if err := admin.Delete(t.Context(), foreign); err != nil {
				t.Fatal(err)
			}
			w.poke()
			w.enterPIN("kometa")
			w.reaches("kometa", v1alpha1.ReasonLinked)
		})
	}
}

func TestSecretThatAppearsWhileThePINIsOpenIsNotOverwritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.create("kometa")
	w.awaitsPIN("kometa")
	foreign := &corev1.Secret{Data: map[string][]byte{"PLEX_TOKEN": []byte("precious")}}
	foreign.Name, foreign.Namespace = "kometa", w.namespace
	if err := admin.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	w.enterPIN("kometa")
	w.reaches("kometa", v1alpha1.ReasonSecretConflict)
	if got := string(w.secret("kometa").Data["PLEX_TOKEN"]); got != "precious" {
		t.Errorf("the foreign Secret was overwritten")
	}
	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Secret.Name = "kometa-plex" })
	w.reaches("kometa", v1alpha1.ReasonLinked)
	checkSecretOpensServer(t, w.secret("kometa-plex"))
}

func TestFaultsWhileAPINIsOpenLoseNothing(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]plextest.Fault{
		"500":                  {Status: 500, Times: 3},
		"garbage":              {Body: "<html>", Times: 3},
		"dropped":              {Drop: true, Times: 3},
		"429":                  {Status: 429, Times: 2},
		"429 with Retry-After": {Status: 429, Header: http.Header{"Retry-After": {"2"}}},
		"blocked address":      {Status: 401, Code: 1031, Times: 2},
		"the response is lost": {DropAnswer: true, Times: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.startOperator()
			w.create("kometa")
			w.awaitsPIN("kometa")
			fault.Endpoint = plextest.CheckPIN
			w.sim.Fault(fault)
			w.enterPIN("kometa")
			w.reaches("kometa", v1alpha1.ReasonLinked)
			if pins := w.sim.PINs(); len(pins) != 1 {
				t.Errorf("got %d PINs, want one", len(pins))
			}
		})
	}
}

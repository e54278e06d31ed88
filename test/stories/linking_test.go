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
		t.Errorf("the message is %q, want it to begin with %q", message(link), want)
	}
	if w.secret("kometa") != nil {
		t.Error("got a Secret before the PIN was entered, want none")
	}
	w.hasEvent("PINIssued", link.Status.PIN.Code)

	w.enterPIN("kometa")
	link = w.reaches("kometa", v1alpha1.ReasonLinked)
	secret := w.secret("kometa")
	if got := string(secret.Data["PLEX_URL"]); got != w.server.URL {
		t.Errorf("PLEX_URL is %q, want %q", got, w.server.URL)
	}
	checkSecretOpensServer(t, secret)
	if len(secret.Data) != 2 || secret.Labels[v1alpha1.UIDLabel] != string(link.UID) || secret.OwnerReferences[0].UID != link.UID {
		t.Errorf("the Secret has keys %d, labels %v, owners %v", len(secret.Data), secret.Labels, secret.OwnerReferences)
	}
	if link.Status.PIN != nil || link.Status.Account.Username != "alice" || link.Status.Server.URL != w.server.URL || link.Status.SecretName != "kometa" {
		t.Errorf("the status is %+v", link.Status)
	}
	for _, reason := range []string{"PINEntered", "ServerChosen", "SecretCreated", "Linked"} {
		w.hasEvent(reason, "")
	}
	if table := w.kubectl("get", "plexlink", "kometa"); !strings.Contains(table, "Linked") || !strings.Contains(table, "My Plex Server") {
		t.Errorf("kubectl get shows\n%s", table)
	}
}

// checkSecretOpensServer calls the media server with exactly what the Secret contains.
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
		t.Errorf("the media server answers %s to what the Secret contains", resp.Status)
	}
}

func TestPINIsInKubectlGetWithinASecondOfApply(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("first") // so that the operator is up
	start := time.Now()
	w.create("kometa")
	link := w.awaitsPIN("kometa")
	if took := time.Since(start); took > time.Second {
		t.Errorf("the PIN was there after %s, want at most a second", took)
	}
	if table := w.kubectl("get", "plexlink", "kometa"); !strings.Contains(table, link.Status.PIN.Code) {
		t.Errorf("kubectl get shows\n%s", table)
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
			return fmt.Errorf("%d polls", got-polls)
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
	w.linked("tautulli") // The operator had time to write more.
	for _, write := range o.written()[len(writes):] {
		if strings.Contains(write, "kometa") {
			t.Errorf("got %s of a settled link, want no more writes", write)
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
	if took := time.Since(start); took > 6*time.Second { // one poll and one time-out, on a busy machine
		t.Errorf("it took %s", took)
	}
	if got := string(w.secret("kometa").Data["PLEX_URL"]); got != "http://192.168.1.100:32400" {
		t.Errorf("PLEX_URL is %q", got)
	}
	for _, r := range w.sim.Requests() {
		if r.Server == "Stranger" && (r.Token != "" || r.ClientIdentifier != "") {
			t.Errorf("the stranger was told a secret at %s", r.Endpoint)
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
				t.Errorf("the message does not say what to do: %s", message(link))
			}
			w.hasEvent(v1alpha1.ReasonSecretConflict, name)
			if len(w.sim.PINs()) != 0 {
				t.Error("got a PIN that cannot be used, want none")
			}
			if got := w.secret(name); got.ResourceVersion != foreign.ResourceVersion {
				t.Errorf("the Secret was changed: %v", got.ManagedFields)
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
		t.Errorf("it was overwritten")
	}
	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Secret.Name = "kometa-plex" })
	w.reaches("kometa", v1alpha1.ReasonLinked)
	checkSecretOpensServer(t, w.secret("kometa-plex"))
}

func TestFaultsWhileAPINIsOpenLoseNothing(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]plextest.Fault{
		"500":                   {Status: 500, Times: 3},
		"garbage":               {Body: "<html>", Times: 3},
		"dropped":               {Drop: true, Times: 3},
		"429":                   {Status: 429, Times: 2},
		"429 with Retry-After":  {Status: 429, Header: http.Header{"Retry-After": {"2"}}},
		"blocked address":       {Status: 401, Code: 1031, Times: 2},
		"the answer is cut off": {DropAnswer: true, Times: 2},
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

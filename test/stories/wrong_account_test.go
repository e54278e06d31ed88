package stories

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// enterPINAs enters the PIN of a link as the account, and returns the code and the resulting token.
func (w *world) enterPINAs(name string, account *plextest.Account) (code, token string) {
	w.Helper()
	code = w.showsPIN(name)
	if err := w.sim.Link(code, account); err != nil {
		w.Fatal(err)
	}
	for _, pin := range w.sim.PINs() {
		if pin.Code == code {
			token = pin.Token
		}
	}
	return code, token
}

// showsAnotherPIN waits until a link shows a PIN other than before, and returns its code.
func (w *world) showsAnotherPIN(name, before string) string {
	w.Helper()
	w.eventually("another PIN of "+name, func() error {
		if pin := w.link(name).Status.PIN; pin == nil || pin.Code == before {
			return errors.New(message(w.link(name)))
		}
		return nil
	})
	return w.showsPIN(name)
}

// onlyFor sets spec.account.
func onlyFor(account v1alpha1.AccountSpec) func(*v1alpha1.PlexLink) {
	return func(l *v1alpha1.PlexLink) { l.Spec.Account = account }
}

// checkNeverTaken checks that a token was in no version of a target Secret, and that no media server has received it.
func checkNeverTaken(w *world, token string, secrets ...string) {
	w.Helper()
	for _, name := range secrets {
		secret := w.secret(name)
		if secret == nil {
			continue
		}
		for key, value := range secret.Data {
			if bytes.Contains(value, []byte(token)) {
				w.Errorf("got the stranger's token in key %s of Secret %s, want it in none", key, name)
			}
		}
	}
	for _, r := range w.sim.Requests() {
		if r.Server != "plex.tv" && r.Token == token {
			w.Errorf("the stranger's token was sent to %s", r.Server)
		}
	}
	if slices.Contains(w.sim.ValidTokens(), token) {
		w.Error("the stranger's token is valid, want it signed out")
	}
}

// Fault D3: the wrong person enters the PIN.
func TestTokenOfAnotherAccountIsSignedOutAndNeverUsed(t *testing.T) {
	t.Parallel()
	for name, wanted := range map[string]func(alice *plextest.Account) (spec v1alpha1.AccountSpec, called string){
		"username": func(*plextest.Account) (v1alpha1.AccountSpec, string) {
			return v1alpha1.AccountSpec{Username: "Alice"}, "Alice"
		},
		"uuid": func(alice *plextest.Account) (v1alpha1.AccountSpec, string) {
			return v1alpha1.AccountSpec{UUID: alice.UUID}, "the account with uuid " + alice.UUID
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			bob := w.sim.AddAccount("bob")
			w.server.Update(func(s *plextest.Server) { s.SharedWith = []*plextest.Account{bob} }) // Bob's token would work.
			spec, called := wanted(w.alice)
			secrets := w.recordSecrets()
			w.startOperator()
			w.create("kometa", onlyFor(spec))
			first, stranger := w.enterPINAs("kometa", bob)
			second := w.showsAnotherPIN("kometa", first)
			link := w.reaches("kometa", v1alpha1.ReasonWrongAccount)
			want := "bob entered the PIN, but spec.account asks for " + called + "; Enter " + second + " at " + w.sim.URL + "/link before "
			if !strings.HasPrefix(message(link), want) {
				t.Errorf("got the message %q, want %q", message(link), want)
			}
			w.hasEvent(v1alpha1.ReasonWrongAccount, "bob entered the PIN")
			if w.secret("kometa") != nil || link.Status.Account != nil {
				t.Errorf("got the account %+v or a Secret, want neither", link.Status.Account)
			}
			checkNeverTaken(w, stranger, "kometa-plexlink-device")
			if n := w.sim.Count(plextest.SignOut); n != 1 {
				t.Errorf("got %d sign-outs, want one", n)
			}

			w.enterPINAs("kometa", w.alice)
			if link := w.reaches("kometa", v1alpha1.ReasonLinked); link.Status.Account.Username != "alice" {
				t.Errorf("got the account %+v, want alice", link.Status.Account)
			}
			checkSecretOpensServer(t, w.secret("kometa"))
			checkNeverTaken(w, stranger, "kometa", "kometa-plexlink-device")
			_, versions := secrets.of("kometa-plexlink-device")
			if len(versions) < 4 {
				t.Errorf("got %d versions of the device Secret, want all of them", len(versions))
			}
			for _, secret := range versions {
				if string(secret.Data[keyToken]) == stranger {
					t.Error("the stranger's token was stored as the link's, want it never stored")
				}
			}
		})
	}
}

func TestNoPINFollowsEightThatStrangersEntered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.sim.AddAccount("bob")
	w.startOperator()
	w.create("kometa", onlyFor(v1alpha1.AccountSpec{Username: "alice"}))
	code := ""
	for range 8 {
		w.showsAnotherPIN("kometa", code)
		code, _ = w.enterPINAs("kometa", bob)
		w.advance(2 * time.Second) // The next poll is due.
	}
	link := w.reaches("kometa", v1alpha1.ReasonPINExpired)
	if n := len(w.sim.PINs()); n != 8 || len(w.sim.ValidTokens()) != 0 {
		t.Errorf("got %d PINs and %d valid tokens, want 8 and none", n, len(w.sim.ValidTokens()))
	}
	if !strings.Contains(message(link), "bob") || !strings.Contains(message(link), v1alpha1.LinkRequestedAtAnnotation) {
		t.Errorf("got the message %q, want bob and the command in it", message(link))
	}
	w.request("kometa", v1alpha1.LinkRequestedAtAnnotation)
	w.showsAnotherPIN("kometa", code)
	w.enterPINAs("kometa", w.alice)
	w.reaches("kometa", v1alpha1.ReasonLinked)
}

func TestStrangerWhoEntersThePINOfARelinkChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.sim.AddAccount("bob")
	w.startOperator()
	w.linked("kometa", onlyFor(v1alpha1.AccountSpec{Username: "alice"}))
	w.settled("kometa")
	old, before, links := w.accountToken("kometa"), w.secret("kometa"), w.recordLinks()
	w.request("kometa", v1alpha1.LinkRequestedAtAnnotation)
	first, stranger := w.enterPINAs("kometa", bob)
	second := w.showsAnotherPIN("kometa", first)
	link := w.reaches("kometa", v1alpha1.ReasonLinked)
	for _, want := range []string{"bob entered the PIN, but spec.account asks for alice", second} {
		if !strings.Contains(message(link), want) {
			t.Errorf("got the message %q, want %q in it", message(link), want)
		}
	}
	checkNeverTaken(w, stranger, "kometa", "kometa-plexlink-device")
	if !slices.Contains(w.sim.ValidTokens(), old) || w.accountToken("kometa") != old {
		t.Error("the working token is gone, want it kept")
	}
	if w.secret("kometa").ResourceVersion != before.ResourceVersion {
		t.Error("the Secret changed, want it unchanged")
	}
	checkSecretOpensServer(t, w.secret("kometa"))
	w.enterPINAs("kometa", w.alice)
	w.eventually("the new token in the Secret", func() error {
		if w.accountToken("kometa") == old || string(w.secret("kometa").Data["PLEX_TOKEN"]) == string(before.Data["PLEX_TOKEN"]) {
			return errNotYet
		}
		return nil
	})
	checkSecretOpensServer(t, w.secret("kometa"))
	checkStaysReady(w, links, "kometa")
}

func TestAccountSetLaterReplacesTheLinkedOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.sim.AddAccount("bob")
	w.server.Update(func(s *plextest.Server) { s.SharedWith = []*plextest.Account{bob} })
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	old, before := w.accountToken("kometa"), w.secret("kometa")
	w.change("kometa", onlyFor(v1alpha1.AccountSpec{Username: "bob"}))
	code := w.showsPIN("kometa")
	link := w.reaches("kometa", v1alpha1.ReasonWrongAccount)
	if want := "Linked to alice, but spec.account asks for bob; Enter " + code; !strings.HasPrefix(message(link), want) {
		t.Errorf("got the message %q, want %q", message(link), want)
	}
	w.hasEvent(v1alpha1.ReasonWrongAccount, "Linked to alice")
	if w.secret("kometa").ResourceVersion != before.ResourceVersion || !slices.Contains(w.sim.ValidTokens(), old) {
		t.Error("the Secret changed or its token is invalid, want both kept")
	}
	w.enterPINAs("kometa", bob)
	if link := w.reaches("kometa", v1alpha1.ReasonLinked); link.Status.Account.Username != "bob" || link.Status.Server.Owner != "alice" {
		t.Errorf("got the account %+v and the server %+v, want bob and alice's server", link.Status.Account, link.Status.Server)
	}
	checkSecretOpensServer(t, w.secret("kometa"))
	w.eventually("alice's token to be revoked", func() error {
		if slices.Contains(w.sim.ValidTokens(), old) {
			return errNotYet
		}
		return nil
	})
}

// Fault D3: the wrong person enters the PIN, and spec.account is not set.
func TestMissingServerIsExplainedByTheAccountThatEnteredThePIN(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		server string // the name of bob's server
		asked  string // spec.server.name
		want   string // the beginning of the message
	}{
		"without a server":    {"", "", "The account has no Plex Media Server; claim one for it, or link another account"},
		"with another server": {"Bob's", "My Plex Server", `No server is named "My Plex Server"; set spec.server.name to one of: "Bob's"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			bob := w.sim.AddAccount("bob")
			if row.server != "" {
				w.sim.AddServer(plextest.Server{Name: row.server, Owner: bob})
			}
			w.startOperator()
			w.create("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Server.Name = row.asked })
			_, token := w.enterPINAs("kometa", bob)
			link := w.reaches("kometa", v1alpha1.ReasonServerNotFound)
			hint, command, found := strings.Cut(message(link), "; bob entered the PIN: to link another account, run: kubectl ")
			if !found || hint != row.want {
				t.Fatalf("got the message %q, want %q, bob and the command", message(link), row.want)
			}
			w.kubectl(strings.Fields(strings.ReplaceAll(command, `"$(date)"`, "today"))...)
			code := w.showsPIN("kometa")
			if got := message(w.link("kometa")); !strings.Contains(got, "to link again: Enter "+code) {
				t.Errorf("got the message %q, want the new PIN in it", got)
			}
			w.enterPINAs("kometa", w.alice)
			w.reaches("kometa", v1alpha1.ReasonLinked)
			checkSecretOpensServer(t, w.secret("kometa"))
			w.eventually("bob's token to be revoked", func() error {
				if slices.Contains(w.sim.ValidTokens(), token) {
					return errNotYet
				}
				return nil
			})
		})
	}
}

func TestNoTokenIsUsedWhileItsAccountIsUnknown(t *testing.T) {
	t.Parallel()
	for _, person := range []string{"alice", "bob"} {
		t.Run(person, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			account := w.alice
			if person == "bob" {
				account = w.sim.AddAccount("bob")
			}
			w.startOperator()
			w.create("kometa", onlyFor(v1alpha1.AccountSpec{Username: "alice"}))
			w.showsPIN("kometa")
			w.sim.Fault(plextest.Fault{Endpoint: plextest.User, Status: http.StatusInternalServerError, Times: -1})
			code, token := w.enterPINAs("kometa", account)
			w.says("kometa", "The PIN was entered; checking which account it belongs to")
			w.eventually("four attempts", func() error {
				w.advance(10 * time.Second)
				if n := w.sim.Count(plextest.User); n < 4 {
					return fmt.Errorf("got %d", n)
				}
				return nil
			})
			if got := w.accountToken("kometa"); got != "" || w.secret("kometa") != nil {
				t.Error("the token was stored before its account was known, want it held back")
			}
			if n := len(w.sim.PINs()); n != 1 {
				t.Errorf("got %d PINs meanwhile, want one", n)
			}
			w.sim.ClearFaults()
			w.advance(time.Minute)
			if person == "alice" {
				w.reaches("kometa", v1alpha1.ReasonLinked)
				if got := w.accountToken("kometa"); got != token {
					t.Error("got another token, want the PIN's")
				}
				return
			}
			w.showsAnotherPIN("kometa", code)
			w.reaches("kometa", v1alpha1.ReasonWrongAccount)
			checkNeverTaken(w, token, "kometa", "kometa-plexlink-device")
		})
	}
}

func TestKillAtAnyMomentOfRefusingAStrangerSignsTheStrangerOut(t *testing.T) {
	t.Parallel()
	for name, dies := range map[string]func(*http.Request) bool{
		"before the token is stored": func(r *http.Request) bool {
			return r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/kometa-plexlink-device")
		},
		"before its account is known": func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/api/v2/user") },
		"before the sign-out":         func(r *http.Request) bool { return r.Method == http.MethodDelete },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			bob := w.sim.AddAccount("bob")
			var entered atomic.Bool
			first := w.startOperator(func(o *operator) {
				o.diesBefore = func(r *http.Request) bool { return entered.Load() && dies(r) }
			})
			w.create("kometa", onlyFor(v1alpha1.AccountSpec{Username: "alice"}))
			w.showsPIN("kometa")
			entered.Store(true)
			code, token := w.enterPINAs("kometa", bob)
			<-first.died
			first.kill()
			if !slices.Contains(w.sim.ValidTokens(), token) {
				t.Fatal("the token was signed out before the kill")
			}
			w.startOperator()
			w.showsAnotherPIN("kometa", code)
			w.reaches("kometa", v1alpha1.ReasonWrongAccount)
			checkNeverTaken(w, token, "kometa", "kometa-plexlink-device")
			w.enterPINAs("kometa", w.alice)
			w.reaches("kometa", v1alpha1.ReasonLinked)
		})
	}
}

package stories

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

func TestSharedServerGetsItsOwnTokenAndNotTheAccounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.sim.AddAccount("bob")
	shared := w.sim.AddServer(plextest.Server{Name: "Bob's", Owner: bob, SharedWith: []*plextest.Account{w.alice}})
	w.startOperator()
	link := w.linked("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Server.Name = "Bob's" })
	secret, account := w.secret("kometa"), w.accountToken("kometa")
	checkSecretOpensServer(t, secret)
	if got := string(secret.Data["PLEX_URL"]); got != shared.URL || link.Status.Server.Owned {
		t.Errorf("got the server %+v at %s, want Bob's, not owned", link.Status.Server, got)
	}
	for key, value := range secret.Data {
		if bytes.Contains(value, []byte(account)) {
			t.Errorf("got the account's token in key %s, want the server's only", key)
		}
	}
	for key, value := range secret.Annotations {
		if strings.Contains(value, account) {
			t.Errorf("got the account's token in annotation %s, want it nowhere", key)
		}
	}
	for _, r := range w.sim.Requests() {
		if r.Server == "Bob's" && r.Token == account {
			t.Errorf("the account's token was sent to Bob's server at %s", r.Endpoint)
		}
	}

	w.change("kometa", func(l *v1alpha1.PlexLink) {
		l.Spec.Secret.Template = &v1alpha1.SecretTemplate{Data: map[string]v1alpha1.TemplateText{"PLEX_TOKEN": "{{ .AccountToken }}"}}
	})
	w.eventually("the account's token, as the template asks", func() error {
		if got := string(w.secret("kometa").Data["PLEX_TOKEN"]); got != account {
			return errors.New("got another token")
		}
		return nil
	})
}

func TestLocalAddressesOfASharedServerAreExplained(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.sim.AddAccount("bob")
	shared := w.sim.AddServer(plextest.Server{Name: "Bob's", Owner: bob, SharedWith: []*plextest.Account{w.alice}})
	stranger := w.sim.AddServer(plextest.Server{Name: "Stranger"})
	w.network.Listeners = map[string]string{"192.168.1.10:32400": stranger.Addr, "203.0.113.7:32400": shared.Addr}
	local := plextest.LocalConnection("http://192.168.1.10:32400")
	remote := plextest.LocalConnection("http://203.0.113.7:32400")
	remote.Local = false
	shared.SetConnections(local, remote)
	w.startOperator()
	w.create("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Server.Name = "Bob's" })
	w.enterPIN("kometa")
	link := w.reaches("kometa", v1alpha1.ReasonServerUnreachable)
	const want = "Could not verify Bob's at its only address: http://192.168.1.10:32400 is another server; " +
		"spec.server.locations (Cluster, Local) leaves out 1 more; the server is shared, so its local addresses are in its owner's network; add Remote to spec.server.locations"
	if message(link) != want {
		t.Errorf("the message is %q, want %q", message(link), want)
	}

	w.change("kometa", func(l *v1alpha1.PlexLink) {
		l.Spec.Server.Locations, l.Spec.Server.Schemes = []v1alpha1.Location{"Local", "Remote"}, []v1alpha1.Scheme{"HTTPS", "HTTP"}
	})
	link = w.reaches("kometa", v1alpha1.ReasonLinked)
	if got := string(w.secret("kometa").Data["PLEX_URL"]); got != "http://203.0.113.7:32400" || link.Status.Server.Location != "Remote" {
		t.Errorf("got PLEX_URL %s and the server %+v, want its remote address", got, link.Status.Server)
	}
	for _, r := range w.sim.Requests() {
		if r.Server == "Stranger" && (r.Token != "" || r.ClientIdentifier != "" || r.Header.Get("Cookie") != "") {
			t.Errorf("a secret was sent to the stranger at %s", r.Endpoint)
		}
	}

	shared.Stop()
	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Server.Schemes = []v1alpha1.Scheme{"HTTP"} })
	link = w.reaches("kometa", v1alpha1.ReasonServerUnreachable)
	if strings.Contains(message(link), "add Remote") || !strings.Contains(message(link), "in its owner's network") {
		t.Errorf("got the message %q, want the owner's network and no advice to add Remote", message(link))
	}
}

func TestServerThatRefusesTheTokenIsReportedAndTheSecretStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.sim.AddAccount("bob")
	shared := w.sim.AddServer(plextest.Server{Name: "Bob's", Owner: bob, SharedWith: []*plextest.Account{w.alice}})
	w.startOperator()
	w.linked("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Server.Name = "Bob's" })
	before := w.secret("kometa").ResourceVersion
	w.sim.Fault(plextest.Fault{Endpoint: plextest.Sections, Server: "Bob's", Status: http.StatusUnauthorized, Times: -1})
	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Server.Schemes = []v1alpha1.Scheme{"HTTP"} })
	link := w.reaches("kometa", v1alpha1.ReasonTokenRejected)
	if want := "Bob's does not accept the token: " + shared.URL + " refused the token"; !strings.HasPrefix(message(link), want) {
		t.Errorf("the message is %q, want %q", message(link), want)
	}
	if got := w.secret("kometa"); got.ResourceVersion != before {
		t.Error("the Secret changed, want it kept")
	}
}

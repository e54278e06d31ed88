package stories

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

func TestServerIsSelectedBySpecOrTheMessageListsTheChoices(t *testing.T) {
	t.Parallel()
	type row struct {
		spec   v1alpha1.ServerSpec
		server string // the machine identifier of the chosen server, or ""
		reason string
		want   []string // substrings of the message
	}
	byName := func(name string) v1alpha1.ServerSpec { return v1alpha1.ServerSpec{Name: name} }
	byID := func(id string) v1alpha1.ServerSpec { return v1alpha1.ServerSpec{MachineIdentifier: id} }
	all := `"Attic", "Friend's" (shared by bob), "My Plex Server", "Solo" (shared by bob)`
	for name, account := range map[string]struct {
		servers []plextest.Server // besides alice's own My Plex Server: Owner nil means bob, who shares it with her
		without bool              // whether she has no server of her own
		rows    []row
	}{
		"two owned servers and a shared one": {
			servers: []plextest.Server{{Name: "Attic", MachineIdentifier: "attic-id"}, {Name: "Friend's", MachineIdentifier: "friend-id"}, {Name: "Solo", MachineIdentifier: "solo-id"}},
			rows: []row{
				{v1alpha1.ServerSpec{}, "", v1alpha1.ReasonServerAmbiguous, []string{`2 servers match; set spec.server.name to one of: "Attic", "My Plex Server"`}},
				{byName("attic"), "attic-id", v1alpha1.ReasonLinked, []string{"a token for Attic at "}},
				{byName("MY PLEX server"), "my-id", v1alpha1.ReasonLinked, nil},
				{byName("friend's"), "friend-id", v1alpha1.ReasonLinked, nil},
				{byName("Cellar"), "", v1alpha1.ReasonServerNotFound, []string{`No server is named "Cellar"; set spec.server.name to one of: ` + all}},
				{byName("Phone"), "", v1alpha1.ReasonServerNotFound, []string{`No server is named "Phone"`, all}},
				{byID("friend-id"), "friend-id", v1alpha1.ReasonLinked, nil},
				{byID("attic-id"), "attic-id", v1alpha1.ReasonLinked, nil},
				{byID("cellar-id"), "", v1alpha1.ReasonServerNotFound, []string{`No server has the machine identifier "cellar-id"; set spec.server.machineIdentifier to one of: attic-id ("Attic"), friend-id ("Friend's", shared by bob), my-id ("My Plex Server"), solo-id ("Solo", shared by bob)`}},
			},
		},
		"an owned and a shared server with the same name": {
			servers: []plextest.Server{{Name: "my plex server", MachineIdentifier: "twin-id"}},
			rows: []row{
				{v1alpha1.ServerSpec{}, "my-id", v1alpha1.ReasonLinked, nil},
				{byName("My Plex Server"), "my-id", v1alpha1.ReasonLinked, nil},
				{byID("twin-id"), "twin-id", v1alpha1.ReasonLinked, nil},
			},
		},
		"two shared servers with the same name": {
			servers: []plextest.Server{{Name: "Twin", MachineIdentifier: "friend-id"}, {Name: "twin", MachineIdentifier: "solo-id"}},
			rows: []row{
				{byName("Twin"), "", v1alpha1.ReasonServerAmbiguous, []string{`2 servers are named "Twin"; set spec.server.machineIdentifier to one of: friend-id ("Twin", shared by bob), solo-id ("twin", shared by bob)`}},
				{byID("solo-id"), "solo-id", v1alpha1.ReasonLinked, nil},
			},
		},
		"one owned server and a shared one": {
			servers: []plextest.Server{{Name: "Friend's", MachineIdentifier: "friend-id"}},
			rows:    []row{{v1alpha1.ServerSpec{}, "my-id", v1alpha1.ReasonLinked, nil}},
		},
		"a shared server only": {
			without: true, servers: []plextest.Server{{Name: "Friend's", MachineIdentifier: "friend-id"}},
			rows: []row{{v1alpha1.ServerSpec{}, "friend-id", v1alpha1.ReasonLinked, nil}},
		},
		"two shared servers": {
			without: true, servers: []plextest.Server{{Name: "Friend's", MachineIdentifier: "friend-id"}, {Name: "Solo", MachineIdentifier: "solo-id"}},
			rows: []row{
				{v1alpha1.ServerSpec{}, "", v1alpha1.ReasonServerAmbiguous, []string{`2 servers match; set spec.server.name to one of: "Friend's" (shared by bob), "Solo" (shared by bob)`}},
				{byName("solo"), "solo-id", v1alpha1.ReasonLinked, nil},
			},
		},
		"no server": {
			without: true,
			rows: []row{
				{v1alpha1.ServerSpec{}, "", v1alpha1.ReasonServerNotFound, []string{"The account has no Plex Media Server; claim one for it, or link another account"}},
				{byName("Home"), "", v1alpha1.ReasonServerNotFound, []string{"The account has no Plex Media Server"}},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			bob := w.sim.AddAccount("bob")
			w.sim.AddDevice(w.alice, "Phone", "client,player,media-server-controller")
			servers := map[string]*plextest.MediaServer{}
			mine := plextest.Server{Name: "My Plex Server", MachineIdentifier: "my-id", Owner: w.alice}
			w.server.Update(func(s *plextest.Server) { s.Owner = nil }) // Replaced by one with a known identifier.
			if !account.without {
				servers["my-id"] = w.sim.AddServer(mine)
			}
			for _, s := range account.servers {
				if s.Owner = w.alice; s.Name != "Attic" {
					s.Owner, s.SharedWith = bob, []*plextest.Account{w.alice}
				}
				servers[s.MachineIdentifier] = w.sim.AddServer(s)
			}
			w.startOperator()
			w.create("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Server = account.rows[0].spec })
			w.enterPIN("kometa")
			var before string
			for i, row := range account.rows {
				start := time.Now()
				if i > 0 {
					w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Server = row.spec })
				}
				link := w.reaches("kometa", row.reason)
				if took := time.Since(start); i > 0 && took > 5*time.Second {
					t.Errorf("the change to %+v was applied after %s, want at most 5s", row.spec, took)
				}
				for _, want := range row.want {
					if !strings.Contains(message(link), want) {
						t.Errorf("%+v: got the message %q, want %q", row.spec, message(link), want)
					}
				}
				resolved := meta.FindStatusCondition(link.Status.Conditions, v1alpha1.ConditionServerResolved)
				if row.server == "" {
					if !meta.IsStatusConditionTrue(link.Status.Conditions, v1alpha1.ConditionStalled) || resolved.Reason != row.reason {
						t.Errorf("%+v: got the conditions %+v, want Stalled and ServerResolved with %s", row.spec, link.Status.Conditions, row.reason)
					}
					if secret := w.secret("kometa"); secret != nil && secret.ResourceVersion != before || secret == nil && before != "" {
						t.Errorf("%+v: the Secret in use changed, want it kept", row.spec)
					}
				} else {
					secret := w.secret("kometa")
					checkSecretOpensServer(t, secret)
					if got := string(secret.Data["PLEX_URL"]); got != servers[row.server].URL || link.Status.Server.MachineIdentifier != row.server {
						t.Errorf("%+v: got server %s at %s, want %s", row.spec, link.Status.Server.MachineIdentifier, got, row.server)
					}
					before = secret.ResourceVersion
				}
				var want []v1alpha1.ServerChoice
				for id, s := range servers {
					choice := v1alpha1.ServerChoice{Name: s.Name, MachineIdentifier: id, Owned: id == "my-id" || id == "attic-id"}
					if !choice.Owned {
						choice.Owner = "bob"
					}
					want = append(want, choice)
				}
				byMachine := func(list []v1alpha1.ServerChoice) map[string]v1alpha1.ServerChoice {
					m := map[string]v1alpha1.ServerChoice{}
					for _, c := range list {
						m[c.MachineIdentifier] = c
					}
					return m
				}
				if diff := cmp.Diff(byMachine(want), byMachine(link.Status.Servers)); diff != "" {
					t.Errorf("%+v: unexpected status.servers: %s", row.spec, diff)
				}
			}
		})
	}
}

func TestRevertedSpecClearsTheProblem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Server.Name = "Nowhere" })
	w.reaches("kometa", v1alpha1.ReasonServerNotFound)
	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Server.Name = "" })
	link := w.reaches("kometa", v1alpha1.ReasonLinked)
	if strings.Contains(message(link), "failed") || !meta.IsStatusConditionTrue(link.Status.Conditions, v1alpha1.ConditionServerResolved) {
		t.Errorf("got the conditions %+v, want no failure left", link.Status.Conditions)
	}
}

func TestServersThatAreGoneDisappearFromTheStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.server.Update(func(s *plextest.Server) { s.Owner = nil })
	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Server.Name = "Another" })
	if link := w.reaches("kometa", v1alpha1.ReasonServerNotFound); len(link.Status.Servers) != 0 {
		t.Errorf("got status.servers %+v, want none", link.Status.Servers)
	}
}

func TestBrokenTemplateIsReportedBeforeThePINAndTheSecretInUseStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	broken := &v1alpha1.SecretTemplate{Data: map[string]v1alpha1.TemplateText{"PLEX_URL": "{{ .URL }}", "config.yml": "a: 1\nurl: {{ .Uri }}\n"}}
	w.create("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Secret.Template = broken })
	link := w.reaches("kometa", v1alpha1.ReasonInvalidTemplate)
	if want := "spec.secret.template.data[config.yml]: line 2: <.Uri>: there is no value Uri"; !strings.HasPrefix(message(link), want) {
		t.Errorf("got the message %q, want %q", message(link), want)
	}
	if !meta.IsStatusConditionTrue(link.Status.Conditions, v1alpha1.ConditionStalled) || len(w.sim.PINs()) != 0 {
		t.Errorf("got %d PINs and the conditions %+v, want none and Stalled", len(w.sim.PINs()), link.Status.Conditions)
	}

	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Secret.Template = nil })
	w.awaitsPIN("kometa")
	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Secret.Template = broken })
	if link := w.reaches("kometa", v1alpha1.ReasonInvalidTemplate); link.Status.PIN != nil {
		t.Error("got a PIN despite the broken template, want none")
	}
	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Secret.Template = nil })
	w.enterPIN("kometa")
	w.reaches("kometa", v1alpha1.ReasonLinked)
	if pins := w.sim.PINs(); len(pins) != 1 {
		t.Errorf("got %d PINs, want one", len(pins))
	}

	before := w.secret("kometa").ResourceVersion
	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Secret.Template = broken })
	w.reaches("kometa", v1alpha1.ReasonInvalidTemplate)
	if secret := w.secret("kometa"); secret.ResourceVersion != before {
		t.Error("the Secret in use changed, want it kept")
	}
	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Secret.Template.Data["config.yml"] = "url: {{ .URL }}" })
	w.reaches("kometa", v1alpha1.ReasonLinked)
	if secret := w.secret("kometa"); len(secret.Data) != 2 || string(secret.Data["config.yml"]) != "url: "+w.server.URL {
		t.Errorf("got %d keys in the Secret and config.yml %q, want 2 and the URL", len(secret.Data), secret.Data["config.yml"])
	}
}

func TestServerWithAHostileNameStaysData(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const name = "\"; rm -rf /\nadmin: true"
	w.server.Update(func(s *plextest.Server) { s.Name = name })
	w.startOperator()
	link := w.linked("kometa", func(l *v1alpha1.PlexLink) {
		l.Spec.Secret.Template = &v1alpha1.SecretTemplate{Data: map[string]v1alpha1.TemplateText{
			"config.yml": "plex:\n  name: {{ .Server.Name | toYaml }}\n  token: {{ .Token }}\n",
		}}
	})
	want := "plex:\n  name: \"\\\"; rm -rf /\\nadmin: true\"\n  token: "
	if got := string(w.secret("kometa").Data["config.yml"]); !strings.HasPrefix(got, want) {
		t.Errorf("got config.yml %.80q, want it to begin with %q", got, want)
	}
	if strings.ContainsAny(message(link), "\n\r") {
		t.Errorf("got the message %q, want no newlines in it", message(link))
	}
}

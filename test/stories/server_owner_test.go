package stories

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// Fault C8: friends' servers with the same name were indistinguishable, and an owned one had no precedence.
func TestServersOfOneNameAreDistinguishedByTheirOwners(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob, carol := w.sim.AddAccount("bob"), w.sim.AddAccount("carol")
	shared := []*plextest.Account{w.alice}
	for _, server := range []plextest.Server{
		{Name: "Plex", MachineIdentifier: "bobs-id", Owner: bob, SharedWith: shared},
		{Name: "plex", MachineIdentifier: "carols-id", Owner: carol, SharedWith: shared},
		{Name: "MY PLEX SERVER", MachineIdentifier: "bobs-second-id", Owner: bob, SharedWith: shared},
	} {
		w.sim.AddServer(server)
	}
	w.startOperator()
	w.create("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Server.Name = "Plex" })
	w.enterPIN("kometa")
	link := w.reaches("kometa", v1alpha1.ReasonServerAmbiguous)
	const want = `2 servers are named "Plex"; set spec.server.machineIdentifier to one of: bobs-id ("Plex", shared by bob), carols-id ("plex", shared by carol)`
	if message(link) != want {
		t.Errorf("got the message %q, want %q", message(link), want)
	}
	servers := map[string]v1alpha1.ServerChoice{}
	for _, choice := range link.Status.Servers {
		servers[choice.MachineIdentifier] = choice
	}
	if diff := cmp.Diff(map[string]v1alpha1.ServerChoice{
		"bobs-id":                  {Name: "Plex", MachineIdentifier: "bobs-id", Owner: "bob"},
		"carols-id":                {Name: "plex", MachineIdentifier: "carols-id", Owner: "carol"},
		"bobs-second-id":           {Name: "MY PLEX SERVER", MachineIdentifier: "bobs-second-id", Owner: "bob"},
		w.server.MachineIdentifier: {Name: "My Plex Server", MachineIdentifier: w.server.MachineIdentifier, Owned: true},
	}, servers); diff != "" {
		t.Errorf("unexpected status.servers: %s", diff)
	}

	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Server = v1alpha1.ServerSpec{MachineIdentifier: "carols-id"} })
	link = w.reaches("kometa", v1alpha1.ReasonLinked)
	if got := link.Status.Server; got.MachineIdentifier != "carols-id" || got.Owner != "carol" || got.Owned {
		t.Errorf("got the server %+v, want carol's", got)
	}
	checkSecretOpensServer(t, w.secret("kometa"))

	w.change("kometa", func(l *v1alpha1.PlexLink) {
		l.Spec.Server = v1alpha1.ServerSpec{Name: strings.ToLower("My Plex Server")}
	})
	link = w.reaches("kometa", v1alpha1.ReasonLinked)
	if got := link.Status.Server; got.MachineIdentifier != w.server.MachineIdentifier || got.Owner != "" || !got.Owned {
		t.Errorf("got the server %+v, want the owned one", got)
	}
}

package plextest_test

import (
	"net/http"
	"strings"
	"testing"

	"plexlink.dev/operator/internal/plex/plextest"
)

func TestStatusPageListsEverythingButSecrets(t *testing.T) {
	t.Parallel()
	sim, alice, _ := start(t)
	bob := sim.AddAccount("bob")
	sim.AddServer(plextest.Server{Name: "<My> Server", Owner: bob, SharedWith: []*plextest.Account{alice}, CachesTokens: true})
	sim.AddDevice(alice, "Phone", "client,player")
	d := device{clientIdentifier: "secret-device"}
	open := d.mint(t, sim, "?X-Plex-Product=Kometa&X-Plex-Device-Name=open+one")
	linked := device{clientIdentifier: "another-device"}.mint(t, sim, "?X-Plex-Product=Tautulli&X-Plex-Device-Name=linked+one")
	if err := sim.Link(linked.Code, alice); err != nil {
		t.Fatal(err)
	}
	token := sim.PINs()[1].Token
	device{clientIdentifier: "another-device", token: token}.want(t, http.StatusOK, "GET", sim.URL+"/api/v2/resources") // issues one for the shared server
	recorded := len(sim.Requests())
	status, body := device{}.do(t, "GET", sim.URL+"/")
	if status != http.StatusOK || len(sim.Requests()) != recorded {
		t.Errorf("got %d and %d requests recorded, want 200 and %d", status, len(sim.Requests()), recorded)
	}
	for _, want := range []string{
		"alice", "bob", "Phone", "&lt;My&gt; Server", "caches tokens", open.Code, "Kometa", "linked one", token[:4] + "…", "POST /pins", ">201<",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, secret := range append(sim.Secrets(), linked.Code) {
		if strings.Contains(body, secret) {
			t.Errorf("the page shows %q", secret)
		}
	}
}

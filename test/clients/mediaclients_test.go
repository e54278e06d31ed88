package clients

import (
	"net/http"
	"testing"

	"github.com/clambin/mediaclients/plex"
)

// mediaclients has neither a PIN login nor a list of servers at this version. Its sign-in with a password asks
// plex.tv/users/sign_in.xml, which the simulator does not have: it knows no passwords.
func TestMediaclients(t *testing.T) {
	token := tokenByHand(t, "mediaclients")
	overBoth(t, simulated[ownedServer], func(t *testing.T, base string) {
		client := plex.New(base, plex.WithToken(token))
		identity, err := client.GetIdentity(t.Context())
		if err != nil || identity.MachineIdentifier == "" || !identity.Claimed {
			t.Errorf("GetIdentity: got %+v, %v; want a claimed server", identity, err)
		}
		libraries, err := client.GetLibraries(t.Context())
		if err != nil || len(libraries) != 2 || libraries[0].Title != "Movies" || libraries[1].Location[0].Id != 2 {
			t.Errorf("GetLibraries: got %+v, %v; want Movies and TV Shows", libraries, err)
		}
		if _, err := plex.New(base, plex.WithToken("wrong")).GetLibraries(t.Context()); err == nil || err.Error() != "401 Unauthorized" {
			t.Errorf("with a wrong token: got %v, want 401 Unauthorized", err)
		}
	})
	password := plex.New(simulated[ownedServer], plex.WithCredentials("alice", "password", plex.ClientIdentity{Identifier: "mediaclients"}))
	if _, err := password.GetLibraries(t.Context()); err == nil || err.Error() != "token: http: "+status(http.StatusNotFound) {
		t.Errorf("with a password: got %v, want 404", err)
	}
}

package clients

import (
	"strings"
	"testing"

	plex "github.com/jrudio/go-plex-client"
)

// What go-plex-client gets wrong itself, at this version:
//   - It identifies every installation by the same client identifier, "go-plex-client-v0.0.1".
//   - MyAccount decodes XML attributes as elements, so that all fields of the account stay empty.
//   - CheckPIN returns an error for a PIN that is still pending.
//   - GetPlexTokens decodes the list /devices.json as one device ("not sure if it works", it says).
func TestGoPlexClient(t *testing.T) {
	anonymous, err := plex.New("", "none")
	if err != nil {
		t.Fatal(err)
	}
	pin, err := plex.RequestPIN(anonymous.Headers)
	if err != nil || len(pin.Code) != 4 {
		t.Fatalf("got the PIN %q, %v; want one of four characters", pin.Code, err)
	}
	if _, err := plex.CheckPIN(pin.ID, pin.ClientIdentifier); err == nil || err.Error() != plex.ErrorPINNotAuthorized {
		t.Errorf("pending: got %v, want %s", err, plex.ErrorPINNotAuthorized)
	}
	if _, err := plex.CheckPIN(pin.ID, "another"); err == nil || !strings.Contains(err.Error(), "not found or expired") {
		t.Errorf("under another client identifier: got %v, want plex.tv's message", err)
	}
	enter(t, pin.Code)
	linked, err := plex.CheckPIN(pin.ID, pin.ClientIdentifier)
	if err != nil || linked.AuthToken == "" {
		t.Fatalf("linked: got a token: %t, %v; want one", linked.AuthToken != "", err)
	}
	account, err := plex.New("", linked.AuthToken)
	if err != nil {
		t.Fatal(err)
	}

	if _, err := account.MyAccount(); err != nil {
		t.Errorf("MyAccount: %v", err)
	}
	wrong, _ := plex.New("", "wrong")
	if _, err := wrong.MyAccount(); err == nil || err.Error() != plex.ErrorInvalidToken {
		t.Errorf("MyAccount with a wrong token: got %v, want %s", err, plex.ErrorInvalidToken)
	}
	second, err := plex.RequestPIN(anonymous.Headers)
	if err != nil {
		t.Fatal(err)
	}
	if err := account.LinkAccount(second.Code); err != nil {
		t.Errorf("LinkAccount: %v", err)
	}
	linked, err = plex.CheckPIN(second.ID, second.ClientIdentifier) // The client identifier is the same: the first token has died.
	if err != nil {
		t.Fatal(err)
	}
	account.Token = linked.AuthToken

	goPlexClientAtServers(t, account)
	if _, err := plex.CheckPIN(pin.ID+1, pin.ClientIdentifier); err == nil {
		t.Error("an unknown PIN: got no error, want one")
	}
}

func goPlexClientAtServers(t *testing.T, account *plex.Plex) {
	t.Helper()
	servers, err := account.GetServers()
	if err != nil || len(servers) != 2 || servers[0].Name != ownedServer || servers[1].Name != sharedServer || servers[1].Owned != "0" {
		t.Fatalf("GetServers: got %+v, %v; want %s and %s", servers, err, ownedServer, sharedServer)
	}
	devices, err := account.GetDevices()
	if err != nil || len(devices) < 3 {
		t.Errorf("GetDevices: got %d, %v; want two servers and a player", len(devices), err)
	}
	for _, s := range servers {
		if !strings.HasPrefix(s.Connection[0].URI, "https://127-0-0-1.") {
			t.Errorf("%s: got %+v, want one https address", s.Name, s.Connection)
		}
		for _, base := range []string{s.Connection[0].URI, "http://" + s.Connection[0].Address + ":" + s.Connection[0].Port} {
			server, err := plex.New(base, s.AccessToken)
			if err != nil {
				t.Fatal(err)
			}
			libraries, err := server.GetLibraries()
			if err != nil || len(libraries.MediaContainer.Directory) != 2 || libraries.MediaContainer.Directory[0].Title != "Movies" {
				t.Errorf("GetLibraries of %s at %s: got %+v, %v; want Movies and TV Shows", s.Name, base, libraries, err)
			}
		}
	}
}

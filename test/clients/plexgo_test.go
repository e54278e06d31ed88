package clients

import (
	"errors"
	"strings"
	"testing"

	"github.com/LukeHagar/plexgo"
	"github.com/LukeHagar/plexgo/models/operations"
	"github.com/LukeHagar/plexgo/models/sdkerrors"
)

// plexgo has no PIN login at this version. What it gets wrong itself:
//   - GetSections takes hidden for a boolean. Media servers send 0, as mediaclients has it.
//   - GetServerResources refuses the whole list for one device with a field of another type.
func TestPlexgo(t *testing.T) {
	token := tokenByHand(t, "plexgo")
	client := plexgo.New(plexgo.WithSecurity(token), plexgo.WithClientIdentifier("plexgo"), plexgo.WithProduct("plexgo"))
	overBoth(t, simulated["plex.tv"], func(t *testing.T, base string) {
		at := operations.WithServerURL(base + "/api/v2")
		user, err := client.Authentication.GetTokenDetails(t.Context(), operations.GetTokenDetailsRequest{}, at)
		if err != nil || user.UserPlexAccount.Username != "alice" || user.UserPlexAccount.AuthToken != token {
			t.Errorf("GetTokenDetails: got %+v, %v; want alice", user, err)
		}
		resources, err := client.Plex.GetServerResources(t.Context(), operations.GetServerResourcesRequest{
			IncludeHTTPS: operations.IncludeHTTPSTrue.ToPointer(), IncludeRelay: operations.IncludeRelayTrue.ToPointer(),
		}, at)
		if err != nil || len(resources.PlexDevices) < 3 || resources.PlexDevices[0].Name != ownedServer {
			t.Fatalf("GetServerResources: got %+v, %v; want two servers and a player", resources, err)
		}
		if uri := resources.PlexDevices[0].Connections[0].URI; !strings.HasPrefix(uri, "https://127-0-0-1.") {
			t.Errorf("GetServerResources: got the address %s, want an https one", uri)
		}
	})
	t.Run("at plex.tv", func(t *testing.T) {
		if _, err := client.Authentication.GetTokenDetails(t.Context(), operations.GetTokenDetailsRequest{}); err != nil {
			t.Errorf("GetTokenDetails: %v", err)
		}
		stranger := plexgo.New(plexgo.WithSecurity("wrong"), plexgo.WithClientIdentifier("plexgo"))
		_, err := stranger.Authentication.GetTokenDetails(t.Context(), operations.GetTokenDetailsRequest{})
		var unauthorized *sdkerrors.GetTokenDetailsUnauthorized
		if !errors.As(err, &unauthorized) || *unauthorized.Errors[0].Code != 1001 {
			t.Errorf("GetTokenDetails with a wrong token: got %v, want code 1001", err)
		}
	})
	overBoth(t, simulated[ownedServer], func(t *testing.T, base string) {
		server := plexgo.New(plexgo.WithServerURL(base), plexgo.WithSecurity(token), plexgo.WithClientIdentifier("plexgo"))
		identity, err := server.General.GetIdentity(t.Context())
		if err != nil || *identity.Object.MediaContainer.MachineIdentifier == "" {
			t.Errorf("GetIdentity: got %+v, %v; want an identifier", identity, err)
		}
		if _, err := server.Library.GetSections(t.Context()); err == nil || !strings.Contains(err.Error(), "Directory.hidden of type bool") {
			t.Errorf("GetSections: got %v, want its own mistake", err)
		}
	})
}

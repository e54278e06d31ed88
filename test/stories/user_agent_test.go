package stories

import (
	"testing"
	"time"

	"plexlink.dev/operator/internal/plex/plextest"
)

// Fault D4: bot rules in front of plex.tv and media servers block Go's User-Agent.
func TestEveryRequestHasTheUserAgentOfTheOperator(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	w.refresh("kometa")
	w.advance(25 * time.Hour)
	w.reachesCount(plextest.Ping, 1)
	w.delete("kometa")
	w.isGone("kometa")
	seen := map[plextest.Endpoint]bool{}
	for _, r := range w.sim.Requests() {
		seen[r.Endpoint] = true
		if got := r.Header.Get("User-Agent"); got != "PlexLink/test" {
			t.Errorf("%s at %s: got the User-Agent %q, want PlexLink/test", r.Endpoint, r.Server, got)
		}
	}
	for _, endpoint := range []plextest.Endpoint{
		plextest.CreatePIN, plextest.CheckPIN, plextest.User, plextest.Resources, plextest.Ping, plextest.SignOut,
		plextest.Identity, plextest.Sections,
	} {
		if !seen[endpoint] {
			t.Errorf("got no request to %s, want at least one", endpoint)
		}
	}
}

package stories

import (
	"strings"
	"testing"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
)

func TestDeniedAddressIsNeverContacted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator(func(o *operator) { o.deny = plex.DefaultDeny })
	w.create("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Server.URL = w.server.URL })
	w.enterPIN("kometa")
	link := w.reaches("kometa", v1alpha1.ReasonServerUnreachable)
	if !strings.Contains(message(link), w.server.URL+" unreachable") {
		t.Errorf("got the message %q, want unreachable in it", message(link))
	}
	for _, r := range w.sim.Requests() {
		if r.Server != "plex.tv" {
			t.Errorf("got a request to %s of %s on loopback, want none", r.Endpoint, r.Server)
		}
	}
}

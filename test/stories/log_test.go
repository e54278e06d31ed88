package stories

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// That the log has no secrets is checked at the end of every story.
func TestLogShowsTheHistoryOfALink(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.network.Listeners = map[string]string{"192.168.1.100:32400": w.server.Addr, "192.168.1.101:32400": w.server.Addr}
	w.server.SetConnections(plextest.LocalConnection("http://192.168.1.100:32400"))
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")

	w.refresh("kometa") // Nothing has changed.
	w.network.Update(func() { delete(w.network.Listeners, "192.168.1.100:32400") })
	w.server.SetConnections(plextest.LocalConnection("http://192.168.1.101:32400"))
	w.refresh("kometa")
	w.reaches("kometa", v1alpha1.ReasonLinked)

	old := w.accountToken("kometa")
	w.request("kometa", v1alpha1.LinkRequestedAtAnnotation)
	if err := w.sim.Link(w.showsPIN("kometa"), w.alice); err != nil {
		t.Fatal(err)
	}
	w.eventually("the new token in the Secret", func() error {
		if now := w.accountToken("kometa"); now == old || string(w.secret("kometa").Data["PLEX_TOKEN"]) != now {
			return errNotYet
		}
		return nil
	})
	w.settled("kometa")
	w.delete("kometa")
	w.isGone("kometa")

	want := []string{
		"PINIssued", "PINEntered", "SecretCreated", "ServerChosen", "Linked", // linked
		"SecretUpdated", "ServerChosen", // refreshed
		"PINIssued", "PINEntered", "SecretUpdated", // relinked
		"SignedOut", // deleted
	}
	w.eventually("the log of the deletion", func() error {
		if got := w.loggedEvents("kometa"); len(got) < len(want) {
			return errNotYet
		}
		return nil
	})
	if got := w.loggedEvents("kometa"); !slices.Equal(got, want) {
		t.Errorf("got the events %q in the log, want %q", got, want)
	}
}

var eventReason = regexp.MustCompile(`"reason": "([^"]*)"`)

// loggedEvents returns the reasons of a link's events in the log at the default level. Any other line about the link at that
// level is returned as a whole.
func (w *world) loggedEvents(name string) []string {
	var reasons []string
	for line := range strings.Lines(w.logs.String()) {
		if !strings.Contains(line, "\tINFO\t") || !strings.Contains(line, `"name":"`+name+`"`) {
			continue
		}
		reason := eventReason.FindStringSubmatch(line)
		if reason == nil || !strings.Contains(line, "\tRecorded event\t") {
			reason = []string{line, line}
		}
		reasons = append(reasons, reason[1])
	}
	return reasons
}

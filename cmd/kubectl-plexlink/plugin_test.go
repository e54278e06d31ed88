package main

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestPluginLinksAnAppInATerminal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pod := w.pod()
	w.runs(exitError, "to create it, run: kubectl plexlink link -n media kometa", "status", "kometa")

	s := w.start("link", "kometa", "--recipe", "kometa", "--server", "My Plex Server")
	pin := w.pin("")
	s.shows("Enter the PIN " + pin.Code)
	s.eventually("a scanner reads "+pin.LinkURL, func() bool { return scan(s.terminal, dark) == pin.LinkURL })
	w.runs(exitPerson, "AwaitingLink", "status")
	w.runs(exitError, "exists with another spec", "link", "kometa", "--recipe", "tautulli")

	if err := w.sim.Link(pin.Code, w.alice); err != nil {
		t.Fatal(err)
	}
	s.shows("✓ PIN       The PIN was entered by alice")
	s.shows("✓ Server    My Plex Server answers at http://127.0.0.1")
	s.shows("✓ Secret    kometa has the keys KOMETA_PLEX_TOKEN, KOMETA_PLEX_URL")
	s.shows("○ Pod       kometa-0 is Pending")
	pod.Status.Phase = corev1.PodRunning
	if err := w.admin.Status().Update(w.Context(), pod); err != nil {
		t.Fatal(err)
	}
	s.shows("✓ Pod       kometa-0 is Running")
	s.shows("Linked.")
	s.ends(exitReady)

	w.runs(exitReady, "kometa   True    Linked", "status")
	w.runs(exitReady, `"kind": "PlexLinkList"`, "status", "-o", "json")
	w.runs(exitReady, "Secret kometa has a token for My Plex Server", "refresh", "--wait", "kometa")
	w.runs(exitReady, "✓ CRD       has all fields", "doctor", "kometa")
	w.runs(exitReady, "you may not get secrets", "doctor", "kometa")
	w.runs(exitReady, "Linked.", "link", "kometa")
	w.runs(exitError, "it has: kometa", "status", "sonarr")
	w.runs(exitReady, "kometa\n", "__complete", "status", "")
	w.runs(exitError, "plexlink-editor-role", "status", "-A")
	w.runs(exitReady, "", "status", "kometa", "-o", "yaml")

	w.relinks(pin.Code)

	w.runs(exitReady, "Suspended PlexLink kometa", "suspend", "kometa")
	w.runs(exitPerson, "spec.suspend is true", "link", "kometa")
	w.runs(exitReady, "Resumed PlexLink kometa", "resume", "kometa")
}

// relinks stops watching a new PIN, and enters it later.
func (w *world) relinks(before string) {
	w.Helper()
	relink := w.start("relink", "kometa")
	next := w.pin(before)
	relink.shows("Enter the PIN " + next.Code)
	if _, err := relink.keyboard.WriteString("\x03"); err != nil { // Ctrl-C
		w.Fatal(err)
	}
	relink.shows("To go on, run:")
	relink.shows("  kubectl plexlink link -n media kometa")
	relink.ends(exitReady)
	if got := w.pin(""); got.Code != next.Code {
		w.Errorf("Ctrl-C replaced the PIN %s with %s", next.Code, got.Code)
	}
	again := w.start("link", "kometa")
	again.shows("Enter the PIN " + next.Code)
	if err := w.sim.Link(next.Code, w.alice); err != nil {
		w.Fatal(err)
	}
	again.shows("Linked.")
	again.ends(exitReady)
}

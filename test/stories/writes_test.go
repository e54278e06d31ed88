package stories

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

func TestIdlePollReadsAtMostOneSecretAndWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.startOperator()
	w.create("kometa")
	w.awaitsPIN("kometa")
	w.polls(1)
	o.forgetRequests()
	w.polls(10)
	polls, toAPIServer := 0, 0
	for _, request := range o.requests() {
		if strings.Contains(request, "/pins/") {
			polls++
		}
		if strings.Contains(request, w.namespace) && !strings.Contains(request, "/events") {
			toAPIServer++
		}
	}
	if reads := o.count(http.MethodGet, "/secrets/"); reads > polls || toAPIServer != reads {
		t.Errorf("got %d reads of Secrets and %d other requests for %d idle polls, want at most one read each and nothing else",
			reads, toAPIServer-reads, polls)
	}
	if writes := o.written(); len(writes) > 0 {
		t.Errorf("got the writes %q, want none", writes)
	}
}

func TestRefreshCostsAtMostTwoWrites(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	o.forgetRequests()
	w.refresh("kometa")
	w.sim.ResetRequests()
	w.refresh("kometa")
	w.poke()
	w.linked("tautulli") // Gives the operator time to write more.
	var writes []string
	for _, write := range o.written() {
		if strings.Contains(write, "kometa") {
			writes = append(writes, write)
		}
	}
	if len(writes) > 4 {
		t.Errorf("got %d writes for two refreshes, want at most two each: %q", len(writes), writes)
	}
	if n := w.sim.Count(plextest.Resources); n != 2 {
		t.Errorf("got %d requests for the resources, want one for the refresh and one for the other link", n)
	}
}

// Fault B10: every change of spec.server left an entry in the back-off, and tokens of deleted links stayed in memory.
func TestFormerServersAndDeletedLinksLeaveNothingInMemory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.network.Listeners = map[string]string{"192.168.1.100:1": w.server.Addr} // Its other ports refuse connections.
	o := w.startOperator()
	w.linked("kometa")
	for i := range 20 {
		w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Server.URL = fmt.Sprintf("http://192.168.1.100:%d", 1000+i) })
		w.reaches("kometa", v1alpha1.ReasonServerUnreachable)
	}
	began := time.Now()
	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Server.URL = "http://192.168.1.100:1" })
	w.reaches("kometa", v1alpha1.ReasonLinked)
	if took := time.Since(began); took > 2*time.Second+loadSlack {
		t.Errorf("got the good address after %s, want no backoff from the bad ones", round(took))
	}
	o.shows("plexlink_remembered_links 1")
	w.create("waiting")
	w.awaitsPIN("waiting")
	o.shows("plexlink_remembered_links 2", "plexlink_pins_open 1")
	for _, name := range []string{"kometa", "waiting"} {
		w.delete(name)
		w.isGone(name)
	}
	o.shows("plexlink_remembered_links 0", "plexlink_pins_open 0", "plexlink_pin_queue_length 0")
}

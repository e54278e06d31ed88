package stories

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

var loadLinks = flag.Int("load-links", 20, "number of pending links that share the budget in the load test")

// TestTrueTime tells the stories that measure true time, before those that keep the machine busy: an entered PIN lives ten
// seconds, and the budget leaves no reserve.
func TestTrueTime(t *testing.T) {
	for name, story := range map[string]func(*testing.T){
		"pending links share the budget in order":               pendingLinksShareTheBudgetInOrder,
		"no pending link is lost while plex.tv limits requests": noPendingLinkIsLostWhilePlexLimitsRequests,
		"links are linked while plex.tv allows two requests":    linksAreLinkedWhilePlexAllowsTwoRequestsASecond,
		"a failed poll is repeated sooner than an answered one": failedPollIsRepeatedSoonerThanAnAnsweredOne,
		"refreshes that hang delay no poll":                     refreshesThatHangDelayNoPoll,
		"the PIN of a relink is polled before refreshes":        pinOfARelinkIsPolledBeforeRefreshes,
		"a restart asks plex.tv for nothing that was not due":   restartAsksPlexForNothingThatWasNotDueAndRepairsWithinASecond,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			story(t)
		})
	}
}

// loadSlack is the delay allowed for a busy machine.
const loadSlack = time.Second

func pendingLinksShareTheBudgetInOrder(t *testing.T) {
	const qps, burst = 5, 10
	w := newWorld(t)
	w.startOperator(withQPS(qps, burst))
	ready := linkAll(w, *loadLinks, func() {})

	pins := w.sim.PINs()
	var readyAfter, gaps, lateness []time.Duration
	var created []time.Time
	overtaken := 0
	polls := map[string][]time.Time{}
	var times []time.Time
	for _, r := range w.sim.Requests() {
		if r.Server != "plex.tv" {
			continue
		}
		times = append(times, r.Time)
		if r.Endpoint == plextest.CheckPIN {
			polls[r.ClientIdentifier] = append(polls[r.ClientIdentifier], r.Time)
		}
	}
	for i, pin := range pins {
		created = append(created, w.link(fmt.Sprintf("link-%03d", numberOf(pin.DeviceName))).CreationTimestamp.Time)
		if younger := slices.IndexFunc(created, created[i].Before); younger >= 0 {
			overtaken = max(overtaken, i-younger)
		}
		readyAfter = append(readyAfter, ready[numberOf(pin.DeviceName)].Sub(pin.ClaimedAt))
		last := pin.CreatedAt
		for _, at := range polls[pin.ClientIdentifier] {
			gaps, last = append(gaps, at.Sub(last)), at
		}
		lateness = append(lateness, last.Sub(pin.ClaimedAt))
	}
	most := 0
	for i, from := range times {
		n, _ := slices.BinarySearchFunc(times[i:], from.Add(10*time.Second), time.Time.Compare)
		most = max(most, n)
	}
	t.Logf("%d links in %s with %d requests, at most %d in 10 s; the longest time between two polls of a PIN was %s, "+
		"from claim to token %s, from claim to Ready %s; no link came more than %d places behind a younger one",
		*loadLinks, times[len(times)-1].Sub(times[0]).Round(time.Second), len(times), most, round(slices.Max(gaps)),
		round(slices.Max(lateness)), round(slices.Max(readyAfter)), overtaken)
	if len(pins) != *loadLinks {
		t.Errorf("got %d PINs for %d links, want one each", len(pins), *loadLinks)
	}
	if most > qps*10+burst {
		t.Errorf("plex.tv got %d requests in 10 s, want at most %d a second and the burst of %d", most, qps, burst)
	}
	if longest := slices.Max(gaps); longest > 5*time.Second+loadSlack {
		t.Errorf("an open PIN was not polled for %s, want at most 5s", longest)
	}
	if longest := slices.Max(readyAfter); longest > 6*time.Second+loadSlack {
		t.Errorf("a link was ready %s after its PIN was entered, want at most 6s", longest)
	}
	// Links whose turns come together request their PINs together, in any order, as do those created within a second.
	if open := 2 * qps; overtaken >= open {
		t.Errorf("a link came %d places behind a younger one, want fewer than %d", overtaken, open)
	}
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

func noPendingLinkIsLostWhilePlexLimitsRequests(t *testing.T) {
	w := newWorld(t)
	w.startOperator()
	next := 0
	linkAll(w, max(10, *loadLinks/5), func() {
		if len(w.sim.Requests()) < next {
			return
		}
		next += 15
		w.sim.ClearFaults()
		endpoints := []plextest.Endpoint{plextest.CreatePIN, plextest.CheckPIN, plextest.User, plextest.Resources}
		fault := plextest.Fault{Endpoint: endpoints[rand.IntN(len(endpoints))], Status: http.StatusTooManyRequests}
		if rand.IntN(2) == 0 {
			fault.Header = http.Header{"Retry-After": {"2"}}
		}
		w.sim.Fault(fault)
	})
	for _, pin := range w.sim.PINs() {
		if !pin.Collected {
			t.Errorf("the token of %s is lost", pin.DeviceName)
		}
	}
}

// linkAll creates n links, enters each PIN some seconds after it is shown, and returns when each was seen Ready.
// It calls meanwhile repeatedly until then.
func linkAll(w *world, n int, meanwhile func()) map[int]time.Time {
	w.Helper()
	watcher := watchLinks(w)
	for i := range n {
		w.create(fmt.Sprintf("link-%03d", i))
	}
	ready, enters := map[int]time.Time{}, map[string]time.Time{}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute + time.Duration(n)*3*time.Second)
	for len(ready) < n {
		select {
		case <-deadline:
			w.Fatalf("only %d of %d links are ready:\n%s", len(ready), n, w.kubectl("get", "plexlinks"))
		case event := <-watcher.ResultChan():
			link, ok := event.Object.(*v1alpha1.PlexLink)
			if !ok || event.Type == watch.Deleted {
				w.Fatalf("got the watch event %s %v, want a PlexLink", event.Type, event.Object)
			}
			if pin := link.Status.PIN; pin != nil && enters[pinOf(link)].IsZero() {
				enters[pinOf(link)] = time.Now().Add(time.Duration(rand.Int64N(int64(12 * time.Second))))
			}
			if _, was := ready[numberOf(link.Name)]; !was && meta.IsStatusConditionTrue(link.Status.Conditions, v1alpha1.ConditionReady) {
				ready[numberOf(link.Name)] = time.Now()
			}
		case <-tick.C:
			meanwhile()
			for pin, at := range enters {
				if time.Now().After(at) {
					enters[pin] = time.Now().Add(time.Hour) // once
					_, code, _ := strings.Cut(pin, "/")
					if err := w.sim.Link(code, w.alice); err != nil {
						w.Error(err)
					}
				}
			}
		}
	}
	return ready
}

// numberOf returns the number in the name of a link or of its device.
func numberOf(name string) int {
	var n int
	if _, err := fmt.Sscanf(strings.TrimLeft(name, "link-"), "%d", &n); err != nil {
		panic(name + ": " + err.Error())
	}
	return n
}

func failedPollIsRepeatedSoonerThanAnAnsweredOne(t *testing.T) {
	w := newWorld(t)
	w.startOperator(withQPS(0.5, 10)) // one open PIN, polled every 4 s
	w.create("kometa")
	w.awaitsPIN("kometa")
	w.sim.Fault(plextest.Fault{Endpoint: plextest.CheckPIN, Status: http.StatusInternalServerError})
	var polls []plextest.Request
	w.eventually("a failed poll and the next one", func() error {
		polls = nil
		for _, r := range w.sim.Requests() {
			if r.Endpoint == plextest.CheckPIN {
				polls = append(polls, r)
			}
		}
		if len(polls) < 2 {
			return errNotYet
		}
		return nil
	})
	if gap := polls[1].Time.Sub(polls[0].Time); gap > time.Second+loadSlack {
		t.Errorf("the poll was retried after %s, want a second", gap)
	}
}

package stories

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"plexlink.dev/operator/api/v1alpha1"
)

// BenchmarkLink measures the waits a person sees: from apply to the PIN, and from entering it to a readable Secret.
// `make bench` runs it for 60 links one after another, and for 25 applied at once, of which ten have a PIN open at a time.
func BenchmarkLink(b *testing.B) {
	for _, pending := range []int{1, 25} {
		b.Run(fmt.Sprintf("%d pending", pending), func(b *testing.B) {
			w := newWorld(b)
			w.startOperator()
			w.linked("first")
			var toPIN, toSecret []time.Duration
			for b.Loop() {
				for _, l := range w.timeLinks(pending, len(toPIN)) {
					toPIN, toSecret = append(toPIN, l.shown.Sub(l.applied)), append(toSecret, l.written.Sub(l.entered))
				}
			}
			report(b, "from apply to PIN", toPIN, "ms-to-PIN")
			report(b, "from PIN entered to Secret", toSecret, "ms-to-Secret")
		})
	}
}

// timedLink holds when each step of a link was seen.
type timedLink struct {
	name                             string
	applied, shown, entered, written time.Time
	pin                              string
}

// timeLinks creates n links, enters each PIN within a second after it is shown, and waits for the Secrets.
func (w *world) timeLinks(n, seed int) []timedLink {
	w.Helper()
	links := make([]timedLink, n)
	for i := range links {
		links[i].applied = time.Now()
		links[i].name = fmt.Sprintf("link-%d-%d", seed, i)
		w.create(links[i].name)
	}
	err := wait.PollUntilContextTimeout(w.Context(), 5*time.Millisecond, 5*time.Minute, true, func(context.Context) (bool, error) {
		missing := false
		for i := range links {
			l := &links[i]
			if l.written.IsZero() {
				w.passStep(l, time.Duration((seed+i)*137%1000)*time.Millisecond) // People enter it at a random moment between two polls.
				missing = true
			}
		}
		return !missing, nil
	})
	if err != nil {
		w.Fatalf("not all Secrets were written: %v", err)
	}
	for _, l := range links {
		w.reaches(l.name, v1alpha1.ReasonLinked)
	}
	return links
}

// passStep runs the next step of a link if it is due.
func (w *world) passStep(l *timedLink, pause time.Duration) {
	w.Helper()
	switch {
	case l.pin == "":
		if pin := w.link(l.name).Status.PIN; pin != nil {
			l.pin, l.shown = pin.Code, time.Now()
		}
	case l.entered.IsZero():
		if time.Since(l.shown) > pause {
			l.entered = time.Now()
			if err := w.sim.Link(l.pin, w.alice); err != nil {
				w.Fatal(err)
			}
		}
	case w.secret(l.name) != nil:
		l.written = time.Now()
	}
}

func report(b *testing.B, what string, times []time.Duration, unit string) {
	b.Helper()
	slices.Sort(times)
	median := times[len(times)/2].Milliseconds()
	b.Logf("%-27s min %4d ms, median %4d ms, p90 %4d ms, max %4d ms, of %d", what, times[0].Milliseconds(), median,
		times[len(times)*9/10].Milliseconds(), times[len(times)-1].Milliseconds(), len(times))
	b.ReportMetric(float64(median), unit)
}

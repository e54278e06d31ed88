package stories

import (
	"slices"
	"testing"
	"time"

	"plexlink.dev/operator/api/v1alpha1"
)

// BenchmarkLink measures what a person waits for: from apply to the PIN, and from entering it to a Secret that can be
// read. One link is pending at a time. `make bench` runs it 20 times.
func BenchmarkLink(b *testing.B) {
	w := newWorld(b)
	w.startOperator()
	w.linked("first")
	var toPIN, toSecret []time.Duration
	for b.Loop() {
		start := time.Now()
		name := "link-" + start.UTC().Format("150405.000000")
		w.create(name)
		pin := w.awaitsPIN(name).Status.PIN.Code
		toPIN = append(toPIN, time.Since(start))
		time.Sleep(time.Duration(len(toPIN)*137%1000) * time.Millisecond) // People enter it at any moment between two polls.
		entered := time.Now()
		if err := w.sim.Link(pin, w.alice); err != nil {
			b.Fatal(err)
		}
		w.eventually("the Secret", func() error {
			if w.secret(name) == nil {
				return errNotYet
			}
			return nil
		})
		toSecret = append(toSecret, time.Since(entered))
		w.reaches(name, v1alpha1.ReasonLinked)
	}
	for what, times := range map[string][]time.Duration{"from apply to PIN": toPIN, "from PIN entered to Secret": toSecret} {
		slices.Sort(times)
		b.Logf("%-27s min %4d ms, median %4d ms, p90 %4d ms, max %4d ms, of %d", what, times[0].Milliseconds(),
			times[len(times)/2].Milliseconds(), times[len(times)*9/10].Milliseconds(), times[len(times)-1].Milliseconds(), len(times))
	}
	b.ReportMetric(float64(toPIN[len(toPIN)/2].Milliseconds()), "ms-to-PIN")
	b.ReportMetric(float64(toSecret[len(toSecret)/2].Milliseconds()), "ms-to-Secret")
}

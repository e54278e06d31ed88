package servercheck

import (
	"context"
	"crypto/x509"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"plexlink.dev/operator/internal/plex"
)

var start = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func link(i int) types.NamespacedName {
	return types.NamespacedName{Namespace: "media", Name: fmt.Sprint("link-", i)}
}

func server(i int) Target {
	return Target{URL: fmt.Sprintf("http://192.168.%d.%d:32400", i>>8, i&0xff), MachineIdentifier: fmt.Sprint(i)}
}

// change is a call of Options.Changed.
type change struct {
	at    time.Time
	up    bool
	links int
}

// run is a Checker that runs in the time of a bubble of synctest.
type run struct {
	*Checker
	mu      sync.Mutex
	asked   map[Target]int
	changes map[Target][]change
	release chan struct{} // if it is open, Options.Changed waits until it is closed
	stop    func()        // ends it, and returns when nothing of it runs anymore
}

// pass advances the time, and waits until the bubble is idle.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// checker starts a Checker that asks each of n servers for its own link every minute. The verdict of each check comes from
// the function, which gets the time since the start and may block until the context ends.
func checker(t *testing.T, n int, verdict func(ctx context.Context, t Target, since time.Duration) plex.Verdict) *run {
	began := time.Now()
	r := &run{asked: map[Target]int{}, changes: map[Target][]change{}, release: make(chan struct{})}
	close(r.release)
	r.Checker = New(Options{
		Interval: time.Minute, Clock: clock.RealClock{},
		Reach: func(ctx context.Context, t Target, _ *x509.CertPool) plex.Verdict {
			r.mu.Lock()
			r.asked[t]++
			r.mu.Unlock()
			return verdict(ctx, t, time.Since(began))
		},
		Changed: func(links []types.NamespacedName, t Target, up bool) {
			r.mu.Lock()
			release := r.release
			r.changes[t] = append(r.changes[t], change{time.Now(), up, len(links)})
			r.mu.Unlock()
			<-release
		},
	})
	for i := range n {
		r.Watch(link(i), server(i), nil)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Start(ctx) }()
	r.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("got %v, want no error", err)
		}
	}
	return r
}

// requests returns how often a server was asked.
func (r *run) requests(i int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[server(i)]
}

// changesOf returns the changes of a server.
func (r *run) changesOf(i int) []change {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.changes[server(i)])
}

// BenchmarkSecond measures the cost of a second in which nothing is due, and the memory of a link.
func BenchmarkSecond(b *testing.B) {
	const links = 10_000
	names := make([]types.NamespacedName, links)
	for i := range names {
		names[i] = link(i)
	}
	for name, targets := range map[string]int{"10000 links of one server": 1, "1000 servers": 1000} {
		b.Run(name, func(b *testing.B) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			c := New(Options{Interval: time.Minute})
			for i := range links {
				c.Watch(names[i], server(i%targets), nil)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			c.due(start)
			for b.Loop() {
				c.due(start.Add(-time.Second))
			}
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/links, "B/link")
		})
	}
}

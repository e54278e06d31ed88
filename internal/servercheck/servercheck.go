// Package servercheck asks the addresses in use whether their media servers still answer: once per address, however many
// links use it, without a token, plex.tv or the API server. It knows nothing of PlexLinks but their names.
package servercheck

import (
	"context"
	"crypto/x509"
	"hash/fnv"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"plexlink.dev/operator/internal/plex"
)

const (
	// tick is how often the loop looks for checks that are due.
	tick = time.Second
	// maxChecks is how many requests may be under way at once.
	maxChecks = 32
	// jitter is the part of the interval by which a check is moved either way.
	jitter = 0.05
)

// Target is an address in use.
type Target struct {
	URL               string
	MachineIdentifier string
	// CA identifies the certificates that are trusted besides the public ones; "": none.
	CA string
}

// Options are the settings of a [Checker].
type Options struct {
	// Interval between two checks of a target; 0: nothing is checked.
	Interval time.Duration
	// Reach asks a target whether its server answers.
	Reach func(ctx context.Context, t Target, roots *x509.CertPool) plex.Verdict
	// Changed is called, outside of all locks, with the links of a target that is down, or up again. It may block: that
	// delays the next check of this target only.
	Changed func(links []types.NamespacedName, t Target, up bool)
	Clock   clock.PassiveClock
}

// Checker checks targets while it runs. It is safe for concurrent use.
type Checker struct {
	options Options

	mu      sync.Mutex
	targets map[Target]*target
	links   map[types.NamespacedName]*target
}

// target is what is known of an address. Its first two fields never change.
type target struct {
	Target
	roots    *x509.CertPool
	links    map[types.NamespacedName]struct{}
	health   health
	next     time.Time // of the next check; zero: not planned yet
	round    int
	checking bool
	answered time.Time // zero: never
}

// New returns a Checker without targets.
func New(o Options) *Checker {
	return &Checker{options: o, targets: map[Target]*target{}, links: map[types.NamespacedName]*target{}}
}

// Watch has the target of a link checked, in place of the one before. The roots are those that t.CA identifies, or nil.
func (c *Checker) Watch(link types.NamespacedName, t Target, roots *x509.CertPool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if before := c.links[link]; before != nil {
		if before.Target == t {
			return
		}
		c.drop(link, before)
	}
	known := c.targets[t]
	if known == nil {
		known = &target{Target: t, roots: roots, links: map[types.NamespacedName]struct{}{}}
		c.targets[t] = known
	}
	known.links[link] = struct{}{}
	c.links[link] = known
}

// Forget drops a link. A target without links is checked no longer.
func (c *Checker) Forget(link types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.links[link]; known != nil {
		c.drop(link, known)
	}
}

func (c *Checker) drop(link types.NamespacedName, t *target) {
	delete(c.links, link)
	delete(t.links, link)
	if len(t.links) == 0 {
		delete(c.targets, t.Target)
	}
}

// Target returns the target of a link; zero: none is watched.
func (c *Checker) Target(link types.NamespacedName) Target {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.links[link]; known != nil {
		return known.Target
	}
	return Target{}
}

// State reports whether a target is up, as it is until the opposite is known, and how often that has changed.
func (c *Checker) State(t Target) (up bool, changes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.targets[t]
	if known == nil {
		return true, 0
	}
	return !known.health.down, known.health.changes
}

// Each calls f for every target with the number of its links, whether it is up, and when it last answered; zero: never. It
// holds a lock: f must not call the Checker.
func (c *Checker) Each(f func(t Target, links int, up bool, answered time.Time)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for t, known := range c.targets {
		f(t, len(known.links), !known.health.down, known.answered)
	}
}

// NeedLeaderElection implements [sigs.k8s.io/controller-runtime/pkg/manager.LeaderElectionRunnable].
func (c *Checker) NeedLeaderElection() bool { return true }

// Start checks until the context ends. It returns when the last check has ended.
func (c *Checker) Start(ctx context.Context) error {
	if c.options.Interval == 0 {
		return nil
	}
	var running sync.WaitGroup
	defer running.Wait()
	free := make(chan struct{}, maxChecks)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		for _, t := range c.due(c.options.Clock.Now()) {
			free <- struct{}{}
			running.Go(func() {
				verdict := c.options.Reach(ctx, t.Target, t.roots)
				<-free
				c.settle(t, verdict)
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// due returns the targets whose check is due, and plans the one after. The first one is at any time within an interval, so
// that the checks are spread; so is one that is too far ahead because the clock was set back.
func (c *Checker) due(now time.Time) []*target {
	c.mu.Lock()
	defer c.mu.Unlock()
	var due []*target
	for t, known := range c.targets {
		switch wait := known.next.Sub(now); {
		case known.checking:
		case known.next.IsZero(), wait > 2*c.options.Interval:
			known.next = now.Add(time.Duration(spread(t, known.round) * float64(c.options.Interval)))
		case wait <= 0:
			known.round++
			known.checking = true
			factor := 1 + jitter*(2*spread(t, known.round)-1)
			known.next = now.Add(time.Duration(factor * float64(c.options.Interval)))
			due = append(due, known)
		}
	}
	return due
}

// spread returns a number from 0 to 1 that differs between targets, and from one round to the next.
func spread(t Target, round int) float64 {
	hash := fnv.New32a()
	_, _ = io.WriteString(hash, t.URL+" "+t.MachineIdentifier+" "+strconv.Itoa(round))
	return float64(hash.Sum32()%1001) / 1000
}

// settle notes what came of a check, and tells the links when their server has gone or come back.
func (c *Checker) settle(t *target, verdict plex.Verdict) {
	if links, up := c.note(t, verdict, c.options.Clock.Now()); len(links) > 0 {
		c.options.Changed(links, t.Target, up)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t.checking = false // Only now, so that two changes are told in their order.
}

// note notes what came of a check, and returns the links to tell; none: nothing has changed.
func (c *Checker) note(t *target, verdict plex.Verdict, now time.Time) (links []types.NamespacedName, up bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if verdict == plex.Proven {
		t.answered = now
	}
	before := t.health.changes
	t.health = t.health.after(verdict, now)
	if t.health.changes > before {
		links = slices.Collect(maps.Keys(t.links))
	}
	return links, !t.health.down
}

// Package servercheck checks whether the media servers at the addresses in use still answer: once per address, however many
// links use it, without a token, plex.tv or the API server. Of PlexLinks it knows only the names.
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
	// maxChecks is the maximum number of concurrent requests.
	maxChecks = 32
	// jitter is the fraction of the interval by which a check is moved either way.
	jitter = 0.05
)

// Target is an address in use.
type Target struct {
	URL               string
	MachineIdentifier string
	// CA identifies the certificates that are trusted besides the public ones; "" if none.
	CA string
}

// Options are the settings of a [Checker].
type Options struct {
	// Interval between two checks of a target; 0 disables all checks.
	Interval time.Duration
	// Reach checks whether the server of a target answers.
	Reach func(ctx context.Context, t Target, roots *x509.CertPool) plex.Verdict
	// Changed is called, outside of all locks, with the links of a target that went down or came back up. Blocking it delays
	// only the next check of this target.
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

// target holds what is known about an address. Its first two fields never change.
type target struct {
	Target
	roots    *x509.CertPool
	links    map[types.NamespacedName]struct{}
	health   health
	next     time.Time // of the next check; zero if not planned yet
	round    int
	checking bool
	answered time.Time // zero if never
}

// New returns a Checker without targets.
func New(o Options) *Checker {
	return &Checker{options: o, targets: map[Target]*target{}, links: map[types.NamespacedName]*target{}}
}

// Watch adds the target of a link, in place of its previous one. The roots are those that t.CA identifies, or nil.
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

// Forget removes a link. A target without links is no longer checked.
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

// Target returns the target of a link, or the zero value.
func (c *Checker) Target(link types.NamespacedName) Target {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.links[link]; known != nil {
		return known.Target
	}
	return Target{}
}

// State reports whether a target is up, which is assumed at first, and how often that has changed.
func (c *Checker) State(t Target) (up bool, changes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.targets[t]
	if known == nil {
		return true, 0
	}
	return !known.health.down, known.health.changes
}

// Each calls f for every target with the number of its links, whether it is up, and when it last answered; zero if never. It
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

// due returns the targets whose check is due, and plans their next one. The first check comes at a random time within an
// interval, to spread the checks; so does one that is too far ahead because the clock was set back.
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

// settle records the result of a check, and notifies the links if their server went down or came back up.
func (c *Checker) settle(t *target, verdict plex.Verdict) {
	if links, up := c.note(t, verdict, c.options.Clock.Now()); len(links) > 0 {
		c.options.Changed(links, t.Target, up)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t.checking = false // Only now, so that changes are reported in order.
}

// note records the result of a check, and returns the links to notify; none if nothing has changed.
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

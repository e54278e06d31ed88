package controller

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// backOff spaces the attempts of each link at each thing that fails: one second, two, four, up to a limit. It is in
// memory only: after a restart everything may be tried once at once.
type backOff struct {
	mu       sync.Mutex
	attempts map[types.UID]map[string]attempt
}

type attempt struct {
	since    time.Time
	failures int
	next     time.Time
}

func newBackOff() *backOff {
	return &backOff{attempts: map[types.UID]map[string]attempt{}}
}

// next notes a failure and returns how long to wait.
func (b *backOff) next(s *scope, thing string, limit time.Duration) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	things := b.things(s)
	a := things[thing]
	wait := min(time.Second<<min(a.failures, 20), limit)
	things[thing] = attempt{a.since, a.failures + 1, s.now.Add(wait)}
	return wait
}

// since returns when it was first asked for, which is the time that a link is at a thing.
func (b *backOff) since(s *scope, thing string) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.things(s)[thing]
	if a.since.IsZero() {
		a.since = s.now
		b.things(s)[thing] = a
	}
	return a.since
}

// things are the attempts of one link.
func (b *backOff) things(s *scope) map[string]attempt {
	things := b.attempts[s.link.UID]
	if things == nil {
		things = map[string]attempt{}
		b.attempts[s.link.UID] = things
	}
	return things
}

// remaining returns how long the next attempt still has to wait.
func (b *backOff) remaining(s *scope, thing string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return max(b.attempts[s.link.UID][thing].next.Sub(s.now), 0)
}

// reset notes a success.
func (b *backOff) reset(s *scope, thing string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.attempts[s.link.UID], thing)
}

// forget drops a link that is gone.
func (b *backOff) forget(link types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.attempts, link)
}

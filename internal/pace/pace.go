// Package pace decides how often plex.tv is asked and for which link first. It holds the one budget of requests, the
// queue for PINs, and the back-off of every link at every task, in one entry per link behind one lock, so that a link
// that is gone leaves nothing behind. It makes no request, starts no goroutine and never reads the clock: the time is
// passed in. All of it is in memory only; after a restart everything may be tried once at once.
package pace

import (
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Link names a link.
type Link struct{ Namespace, Name string }

// Options are the settings of a [Pace].
type Options struct {
	QPS   float64 // requests per second to plex.tv while it does not ask for fewer
	Burst int     // requests that may be made at once after a quiet time, half of them for polls and entered PINs only
	// Turn is called for a queued link whose turn for a PIN has come, and which then has to ask for it with [Pace.Admit].
	// It may be called by several goroutines at once, and may use the Pace.
	Turn func(Link)
}

// Pace is what all links share. It is safe for concurrent use.
type Pace struct {
	options Options

	mu    sync.Mutex
	links map[Link]*entry

	limiter     *rate.Limiter // holds the present rate too
	tickets     int           // tickets given out so far
	joins       int           // times that a link has joined the queue so far
	inLine      int           // links that have one
	asked       time.Time     // when a request was last asked for
	reduced     time.Time     // when the rate was last reduced
	answered    time.Time     // when plex.tv last answered or failed to
	pausedUntil time.Time
	paused      time.Duration // all pauses so far, the whole of the last one included

	count    [places]int    // links by place; noPlace is not counted
	recheck  time.Time      // when the next reservation may end
	turns    []Link         // links to call Turn for once the lock is released
	turn     int            // turns given so far
	lastTurn map[string]int // by namespace the number of its last turn, kept while any link waits or has a place
}

// entry is everything that is pending for one link.
type entry struct {
	ticket   ticket
	place    place
	since    time.Time // orders the queue within a namespace
	joined   int       // orders those of one since: creation times have whole seconds
	missed   int       // turns that the link did not take, since it was last heard of
	reserved time.Time // when the reservation was first seen; zero until then
	polled   time.Time
	attempts map[Task]attempt
}

// New returns a Pace without any link, at full rate.
func New(o Options) *Pace {
	return &Pace{
		options:  o,
		links:    map[Link]*entry{},
		limiter:  rate.NewLimiter(rate.Limit(o.QPS), o.Burst),
		lastTurn: map[string]int{},
	}
}

// Forget drops everything about a link that is gone. Its place goes to the next link in the queue.
func (p *Pace) Forget(l Link) {
	p.mu.Lock()
	defer p.unlock()
	if e := p.links[l]; e != nil {
		p.setTicket(e, ticket{})
		e.attempts = nil
		p.leave(l)
	}
}

// Links returns the number of links for which anything is pending.
func (p *Pace) Links() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// lockAt locks p and passes on places that were not taken in time. A clock that was set back does not prolong a pause.
func (p *Pace) lockAt(now time.Time) {
	p.mu.Lock()
	if latest := now.Add(maxPause); p.pausedUntil.After(latest) {
		p.pausedUntil = latest
	}
	p.expireReservations(now)
}

// unlock releases p and calls Turn for the links whose turn has come, except one that has taken its place already.
func (p *Pace) unlock() {
	turns := slices.DeleteFunc(p.turns, func(l Link) bool { return p.find(l).place != reserved })
	p.turns = nil
	p.mu.Unlock()
	if p.options.Turn == nil {
		return
	}
	for _, l := range turns {
		p.options.Turn(l)
	}
}

// entry returns the link's entry for a change, after which dropEmpty must be called where nothing may be left in it.
func (p *Pace) entry(l Link) *entry {
	e := p.links[l]
	if e == nil {
		e = &entry{}
		p.links[l] = e
	}
	return e
}

// find returns a copy of the link's entry for reading, an empty one when there is none.
func (p *Pace) find(l Link) entry {
	if e := p.links[l]; e != nil {
		return *e
	}
	return entry{}
}

// dropEmpty drops the link's entry when nothing is pending in it.
func (p *Pace) dropEmpty(l Link) {
	if e := p.links[l]; e != nil && e.ticket.number == 0 && e.place == noPlace && len(e.attempts) == 0 {
		delete(p.links, l)
	}
}

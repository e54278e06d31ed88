// Package pace decides how often plex.tv is asked, and for which link first. It holds the budget of requests, the queue for
// PINs, and the back-off of each task of each link, in one entry per link behind one lock, so that a link that is gone
// leaves nothing behind. It makes no requests, starts no goroutines and never reads the clock: the time is passed in. It
// stores nothing; after a restart everything may be tried once without delay.
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
	QPS   float64 // requests per second to plex.tv unless it limits them
	Burst int     // requests that may be made at once after a quiet time, half of them for polls and entered PINs only
	// Turn is called for a queued link whose turn for a PIN has come, which then has to call [Pace.Admit]. Several goroutines
	// may call it at once, and it may use the Pace.
	Turn func(Link)
}

// Pace is shared by all links. It is safe for concurrent use.
type Pace struct {
	options Options

	mu    sync.Mutex
	links map[Link]*entry

	limiter     *rate.Limiter // also holds the present rate
	tickets     int           // tickets given out so far
	joins       int           // times that a link has joined the queue so far
	inLine      int           // links that have a ticket
	asked       time.Time     // when Take was last called
	reduced     time.Time     // when the rate was last reduced
	answered    time.Time     // when plex.tv last answered or failed to
	pausedUntil time.Time
	paused      time.Duration // all pauses so far, including all of the last one

	count    [places]int    // links by place; noPlace is not counted
	recheck  time.Time      // when the next reservation may end
	turns    []Link         // links to call Turn for once the lock is released
	turn     int            // turns given so far
	lastTurn map[string]int // the number of each namespace's last turn, kept while any link waits or has a place
}

// entry is everything that is pending for one link.
type entry struct {
	ticket   ticket
	place    place
	since    time.Time // orders the queue within a namespace
	joined   int       // orders those of one since: creation times have whole seconds
	missed   int       // turns that the link has missed since it was last heard of
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

// Forget removes everything about a link that is gone. Its place goes to the next link in the queue.
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

// lockAt locks p and reassigns places that were not claimed in time. Setting back the clock does not extend a pause.
func (p *Pace) lockAt(now time.Time) {
	p.mu.Lock()
	if latest := now.Add(maxPause); p.pausedUntil.After(latest) {
		p.pausedUntil = latest
	}
	p.expireReservations(now)
}

// unlock releases p and calls Turn for the links whose turn has come, except one that has already claimed its place.
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

// entry returns the link's entry for a change. If the change may leave it empty, the caller must call dropEmpty.
func (p *Pace) entry(l Link) *entry {
	e := p.links[l]
	if e == nil {
		e = &entry{}
		p.links[l] = e
	}
	return e
}

// find returns a copy of the link's entry for reading, or an empty one.
func (p *Pace) find(l Link) entry {
	if e := p.links[l]; e != nil {
		return *e
	}
	return entry{}
}

// dropEmpty removes the link's entry if nothing is pending in it.
func (p *Pace) dropEmpty(l Link) {
	if e := p.links[l]; e != nil && e.ticket.number == 0 && e.place == noPlace && len(e.attempts) == 0 {
		delete(p.links, l)
	}
}

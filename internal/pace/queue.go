package pace

import (
	"cmp"
	"time"
)

const (
	// pollFloor and pollCeiling bound the time between two polls of a PIN. Plex recommends a second; an entered PIN lives ten
	// seconds, so five leave room for one failed poll.
	pollFloor   = time.Second
	pollCeiling = 5 * time.Second
	// pollTarget is the time between two polls while the maximum of PINs is open, so that a late one is still below the
	// ceiling.
	pollTarget = 4 * time.Second
	// pollShare is the part of the rate that polls may use. The rest is for what follows an entered PIN, so that PINs that are
	// not entered do not delay it.
	pollShare = 0.5
	// reservationTime is how long a place is kept for a link whose turn has come: longer than anything a reconciliation may
	// wait for, and short enough for the queue to cope with a few links that never claim theirs.
	reservationTime = 30 * time.Second
)

// place is the position of a link between needing a PIN and having one.
type place int

const (
	noPlace  place = iota
	waiting        // in the queue
	reserved       // its turn has come, and Turn is called
	open           // may have a PIN open
	places         // the number of them
)

// Admit reports whether the link may open a PIN; if so, it holds a place from now on. Otherwise it waits in the queue,
// ordered by since within its namespace, and Turn is called when its turn comes.
func (p *Pace) Admit(l Link, since, now time.Time) bool {
	p.lockAt(now)
	defer p.unlock()
	e := p.entry(l)
	e.missed = 0
	if e.place == noPlace {
		p.joins++
		e.since, e.joined = since, p.joins
		p.move(e, waiting)
		p.givePlaces()
	}
	if e.place == reserved {
		p.move(e, open)
	}
	return e.place == open
}

// Queued reports whether the link waits for its turn.
func (p *Pace) Queued(l Link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.find(l).place == waiting
}

// ResumePIN adds a link that already has an open PIN, as after a restart, even if there is no room for it.
func (p *Pace) ResumePIN(l Link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.move(p.entry(l), open)
}

// LeavePIN records that the link has no open PIN and needs none: it gives back its place or leaves the queue.
func (p *Pace) LeavePIN(l Link) {
	p.mu.Lock()
	defer p.unlock()
	p.leave(l)
}

// Polled records that the link's PIN was polled and plex.tv answered. The next poll after a failed one is timed by
// [Pace.Failed] alone: it must come sooner, because the PIN may have been entered right after the poll before.
func (p *Pace) Polled(l Link, now time.Time) {
	p.lockAt(now)
	defer p.unlock()
	if e := p.links[l]; e != nil && e.place == open {
		e.polled = now
	}
}

// UntilPoll returns the time until the next poll of the link's PIN, which is due if that is not positive.
func (p *Pace) UntilPoll(l Link, now time.Time) time.Duration {
	p.lockAt(now)
	defer p.unlock()
	e := p.links[l]
	if e == nil {
		return 0
	}
	if e.polled.After(now) { // The clock was set back.
		e.polled = now
	}
	return e.polled.Add(p.pollInterval()).Sub(now)
}

// PollInterval returns the time between two polls of one PIN.
func (p *Pace) PollInterval() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pollInterval()
}

// OpenPINs returns the number of links that may have a PIN open.
func (p *Pace) OpenPINs() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count[open]
}

// QueueLength returns the number of links that wait for their turn.
func (p *Pace) QueueLength() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count[waiting]
}

// pollRate returns the limit of polls per second.
func (p *Pace) pollRate() float64 { return float64(p.limiter.Limit()) * pollShare }

func (p *Pace) pollInterval() time.Duration {
	wanted := time.Duration(float64(p.count[open]) / p.pollRate() * float64(time.Second))
	return min(max(wanted, pollFloor), pollCeiling)
}

func (p *Pace) move(e *entry, to place) {
	if e.place != noPlace {
		p.count[e.place]--
	}
	if to != noPlace {
		p.count[to]++
	}
	e.place = to
}

// leave also removes a poll from the budget's line: without a PIN there is nothing to poll.
func (p *Pace) leave(l Link) {
	e := p.links[l]
	if e == nil {
		return
	}
	p.move(e, noPlace)
	e.polled = time.Time{}
	if e.ticket.urgency == Poll {
		p.setTicket(e, ticket{})
	}
	p.dropEmpty(l)
	p.givePlaces()
}

// givePlaces reserves the free places for the next links. It must follow every change that frees one, so that no link waits
// while there is room. The number of places depends on the rate; PINs that are already open stay.
func (p *Pace) givePlaces() {
	limit := max(1, int(p.pollRate()*pollTarget.Seconds()))
	for p.count[waiting] > 0 && p.count[reserved]+p.count[open] < limit {
		l := p.next()
		e := p.links[l]
		p.move(e, reserved)
		e.reserved, p.recheck = time.Time{}, time.Time{}
		p.turns = append(p.turns, l)
		p.turn++
		p.lastTurn[l.Namespace] = p.turn
	}
	if p.count == [places]int{} {
		clear(p.lastTurn)
	}
}

// next returns the next waiting link: of the namespace with the fewest places, then of the one whose last turn was longest
// ago, then the one that has waited longest. Links that missed their turn come after those that had none, or links that
// never come would pass a place around among themselves.
func (p *Pace) next() Link {
	held := map[string]int{}
	for l, e := range p.links {
		if e.place == reserved || e.place == open {
			held[l.Namespace]++
		}
	}
	var first Link
	var best *entry
	for l, e := range p.links {
		if e.place == waiting && (best == nil || cmp.Or(
			cmp.Compare(e.missed, best.missed),
			cmp.Compare(held[l.Namespace], held[first.Namespace]),
			cmp.Compare(p.lastTurn[l.Namespace], p.lastTurn[first.Namespace]),
			e.since.Compare(best.since),
			cmp.Compare(e.joined, best.joined),
		) < 0) {
			first, best = l, e
		}
	}
	return first
}

// expireReservations reassigns the places of links that did not claim them. LeavePIN and Forget take no time, so a
// reservation's time runs from the next call that does.
func (p *Pace) expireReservations(now time.Time) {
	if wait := p.recheck.Sub(now); p.count[reserved] == 0 || wait > 0 && wait <= reservationTime {
		return
	}
	p.recheck = now.Add(reservationTime)
	for _, e := range p.links {
		switch {
		case e.place != reserved:
		case e.reserved.IsZero():
			e.reserved = now
		case now.Sub(e.reserved).Abs() > reservationTime:
			e.missed++
			p.move(e, waiting)
		case e.reserved.Add(reservationTime).Before(p.recheck):
			p.recheck = e.reserved.Add(reservationTime)
		}
	}
	p.givePlaces()
}

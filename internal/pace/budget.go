package pace

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

const (
	// minRate is the lowest rate, and leastPolled the longest time between two polls of each open PIN that a rate must allow: an
	// entered one lives ten seconds.
	minRate     = 0.5
	leastPolled = 8 * time.Second
	// restoreTime is the time from zero to the full rate. Plex publishes no limits, so each climb ends in a few 429s; minutes
	// between two climbs keep these rare.
	restoreTime = 5 * time.Minute
	// restoreStep is the longest time for which one answer restores the rate. A quiet hour proves nothing about the rate.
	restoreStep = 10 * time.Second
	// maxPause is the longest pause that plex.tv can request.
	maxPause = time.Hour
	// restOfPause is how much longer than polls everything else waits after a pause: a PIN that was entered during it has only
	// seconds left.
	restOfPause = 2 * time.Second
	// ticketGrace is how late a link may claim its request before others pass it.
	ticketGrace = 5 * time.Second
)

// Urgency orders requests when the budget is short.
type Urgency int

const (
	// Poll is for open PINs: an entered one lives ten seconds.
	Poll Urgency = iota
	// Entered is for a link whose PIN was entered: a person is waiting for it.
	Entered
	// Ordinary is for minting PINs and signing out.
	Ordinary
	// Refresh is for working links. A thousand that are due at once delay nothing else.
	Refresh
)

// ticket is a link's place in the line for a request: by urgency, then by number. The zero value is no ticket.
type ticket struct {
	urgency Urgency
	number  int
	due     time.Time // when the link has to ask again
	wait    time.Duration
}

func (t ticket) before(other ticket) bool {
	return t.urgency < other.urgency || t.urgency == other.urgency && t.number < other.number
}

// abandoned reports whether the link did not return in time. A ticket that is due later than ever possible, because the
// clock was set back, is abandoned too.
func (t ticket) abandoned(now time.Time) bool {
	late := now.Sub(t.due)
	return late > ticketGrace || -late > t.wait+ticketGrace
}

// Take returns 0 if the link may make one request now, else how long to wait before asking again. The link keeps its place
// in line until then.
func (p *Pace) Take(l Link, u Urgency, now time.Time) time.Duration {
	p.lockAt(now)
	defer p.unlock()
	if p.asked.Sub(now) > time.Second { // The clock was set back. The bucket would not fill until it catches up.
		p.limiter.SetLimitAt(now, p.limiter.Limit())
	}
	p.asked = now
	e := p.entry(l)
	if e.ticket.number == 0 || e.ticket.urgency != u {
		p.tickets++
		p.setTicket(e, ticket{urgency: u, number: p.tickets})
	}
	if wait := max(p.untilPauseEnds(u, now), p.untilFirst(l, e.ticket, now)); wait > 0 {
		e.ticket.due, e.ticket.wait = now.Add(wait), wait
		return wait
	}
	p.limiter.AllowN(now, 1)
	p.setTicket(e, ticket{})
	p.dropEmpty(l)
	return 0
}

func (p *Pace) setTicket(e *entry, t ticket) {
	if e.ticket.number > 0 {
		p.inLine--
	}
	if t.number > 0 {
		p.inLine++
	}
	e.ticket = t
}

func (p *Pace) untilPauseEnds(u Urgency, now time.Time) time.Duration {
	end := p.pausedUntil
	if u != Poll {
		end = end.Add(restOfPause)
	}
	return end.Sub(now)
}

// untilFirst returns the time until the budget covers everything ahead of a ticket and the ticket itself. Half of the burst
// is reserved for polls and for what follows an entered PIN: they never wait for a wave of refreshes, and ten links that are
// created at once do not hit an unknown limit together.
func (p *Pace) untilFirst(l Link, mine ticket, now time.Time) time.Duration {
	needed := 1
	if mine.urgency >= Ordinary {
		needed += p.limiter.Burst() / 2
	}
	for other, e := range p.links {
		if p.inLine == 1 { // Often it is the only one, while thousands of links wait for a PIN.
			break
		}
		switch {
		case other == l || e.ticket.number == 0:
		case e.ticket.abandoned(now):
			p.setTicket(e, ticket{})
			p.dropEmpty(other)
		case e.ticket.before(mine):
			needed++
		}
	}
	missing := float64(needed) - p.limiter.TokensAt(now)
	return time.Duration(math.Ceil(missing / float64(p.limiter.Limit()) * float64(time.Second)))
}

// Answer is the result of a request.
type Answer struct {
	OK         bool          // an answer as expected
	Throttled  bool          // a 429
	RetryAfter time.Duration // what the 429 requested; 0 if nothing
	Asked      time.Time     // when the request was sent
}

// Answered adapts the budget to the result of a request. A 429 halves the rate and pauses everything for as long as it
// requests: a pause alone would be followed by the next 429. Successes restore the rate.
func (p *Pace) Answered(a Answer, now time.Time) {
	p.lockAt(now)
	defer p.unlock()
	switch {
	case a.Throttled:
		if a.RetryAfter > 0 {
			p.pause(min(a.RetryAfter, maxPause), now)
		}
		if a.Asked.After(p.reduced) || p.reduced.After(now) { // A request sent earlier says nothing about the reduced rate.
			p.reduce(now)
		}
	case a.OK:
		p.restore(now)
	}
	p.answered = now
}

func (p *Pace) pause(d time.Duration, now time.Time) {
	if until := now.Add(d); until.After(p.pausedUntil) {
		p.paused += min(until.Sub(p.pausedUntil), d)
		p.pausedUntil = until
	}
}

// reduce halves the rate, but for what open PINs need, and empties the bucket, which was filled at the wrong rate.
func (p *Pace) reduce(now time.Time) {
	least := max(minRate, float64(p.count[open])/leastPolled.Seconds())
	half := max(float64(p.limiter.Limit())/2, min(least, p.options.QPS))
	p.limiter = rate.NewLimiter(rate.Limit(half), 1)
	p.limiter.AllowN(now, 1)
	p.reduced = now
}

// restore raises a reduced rate by the time for which plex.tv has answered as expected, and fills the places for PINs that
// this adds.
func (p *Pace) restore(now time.Time) {
	full, present := rate.Limit(p.options.QPS), p.limiter.Limit()
	if present >= full {
		return
	}
	proven := min(max(now.Sub(p.answered), 0), restoreStep)
	raised := min(present+full*rate.Limit(proven.Seconds()/restoreTime.Seconds()), full)
	p.limiter.SetLimitAt(now, raised)
	if raised == full {
		p.limiter.SetBurstAt(now, p.options.Burst)
	}
	p.givePlaces()
}

// PausedUntil returns the end of the pause that plex.tv requested, or the zero time.
func (p *Pace) PausedUntil(now time.Time) time.Time {
	p.lockAt(now)
	defer p.unlock()
	if !now.Before(p.pausedUntil) {
		return time.Time{}
	}
	return p.pausedUntil
}

// ThrottledTime returns how long everything has been paused so far.
func (p *Pace) ThrottledTime(now time.Time) time.Duration {
	p.lockAt(now)
	defer p.unlock()
	return p.paused - max(p.pausedUntil.Sub(now), 0)
}

// Rate returns the present limit in requests per second.
func (p *Pace) Rate() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return float64(p.limiter.Limit())
}

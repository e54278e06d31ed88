package controller

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"

	"plexlink.dev/operator/internal/plex"
)

// pollFloor and pollCeiling bound the time between two polls of a PIN. Plex recommends a second; a PIN that a person
// has entered lives ten seconds, so five leave room for one poll that fails.
const (
	pollFloor   = time.Second
	pollCeiling = 5 * time.Second
	// pollTarget is what the longest queue of open PINs leaves between two polls, so that one that is late is still
	// below the ceiling.
	pollTarget = 4 * time.Second
)

// maxPause bounds the pause after HTTP 429 without Retry-After while nobody waits with a PIN in hand.
const maxPause = 5 * time.Minute

// openPINPause bounds it while somebody does: an entered PIN lives ten seconds, and its last poll may have been
// pollTarget before the pause.
const openPINPause = 2 * time.Second

// restOfPause is how much longer than open PINs everything else waits after a pause: a PIN that was entered meanwhile
// has only seconds left.
const restOfPause = 2 * time.Second

// lapse is how late a link may come back for its request before the others pass it.
const lapse = 5 * time.Second

// urgency says who goes first when the budget is short.
type urgency int

const (
	// poll is for open PINs: one that was entered lives ten seconds.
	poll urgency = iota
	// entered is for a link whose PIN was entered: a person waits for it to be ready.
	entered
	// ordinary is for PINs and for signing out.
	ordinary
	// refresh is for links that work. A thousand that are due at once delay nobody.
	refresh
)

// budget is the one allowance of requests to plex.tv for the whole operator. Nobody waits in it: who is too early has a
// place in its line and comes back.
type budget struct {
	mu          sync.Mutex
	limiter     *rate.Limiter
	line        map[types.UID]ticket
	tickets     int
	pausedUntil time.Time
	throttled   int           // answers 429 in a row
	paused      time.Duration // all pauses so far, the whole of the last one included
}

// ticket is a link's place in the line: by urgency, then by number.
type ticket struct {
	urgency urgency
	number  int
	due     time.Time // when the link is to come back
}

func (t ticket) before(other ticket) bool {
	return t.urgency < other.urgency || t.urgency == other.urgency && t.number < other.number
}

func newBudget(qps float64, burst int) *budget {
	return &budget{limiter: rate.NewLimiter(rate.Limit(qps), burst), line: map[types.UID]ticket{}}
}

// take returns 0 when the link may make one request now, else how long it has to wait.
func (b *budget) take(link types.UID, now time.Time, u urgency) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if pause := b.pausedUntil.Sub(now); pause > 0 {
		if u != poll {
			pause += restOfPause
		}
		return pause
	}
	mine, inLine := b.line[link]
	if !inLine || mine.urgency != u {
		b.tickets++
		mine = ticket{urgency: u, number: b.tickets}
	}
	needed := 1.0
	for other, t := range b.line {
		switch {
		case other == link:
		case now.Sub(t.due) > lapse:
			delete(b.line, other)
		case t.before(mine):
			needed++
		}
	}
	if missing := needed - b.limiter.TokensAt(now); missing > 0 {
		wait := time.Duration(math.Ceil(missing / float64(b.limiter.Limit()) * float64(time.Second)))
		mine.due = now.Add(wait)
		b.line[link] = mine
		return wait
	}
	b.limiter.AllowN(now, 1)
	delete(b.line, link)
	return 0
}

// forget takes a link that is gone out of the line.
func (b *budget) forget(link types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.line, link)
}

// observe pauses everything when plex.tv asks for it: for as long as it says, else for a time that doubles. While a
// PIN is open that time stays below what an entered PIN lives.
func (b *budget) observe(err error, now time.Time, pinsOpen bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var throttled *plex.ThrottledError
	if !errors.As(err, &throttled) {
		if err == nil {
			b.throttled = 0
		}
		return
	}
	pause := throttled.RetryAfter
	if pause == 0 {
		if now.Before(b.pausedUntil) {
			return // It was asked before the pause began, so it is no answer to it.
		}
		limit := maxPause
		if pinsOpen {
			limit = openPINPause
		}
		pause = min(time.Second<<min(b.throttled, 10), limit)
		b.throttled++
	}
	if until := now.Add(pause); until.After(b.pausedUntil) {
		b.paused += min(until.Sub(b.pausedUntil), pause)
		b.pausedUntil = until
	}
}

// throttledTime is for how long everything has been paused so far.
func (b *budget) throttledTime(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.paused - max(b.pausedUntil.Sub(now), 0)
}

// notYetError says that the budget has no request left for now.
type notYetError struct{ wait time.Duration }

func (e *notYetError) Error() string { return "the budget of requests to plex.tv is used up for now" }

// ask makes one request to plex.tv within the budget. Without allowance it asks for another reconciliation and returns
// a *notYetError.
func ask[T any](ctx context.Context, r *Reconciler, s *scope, u urgency, endpoint string,
	request func(context.Context) (T, error),
) (T, error) {
	if wait := r.budget.take(s.link.UID, r.Clock.Now(), u); wait > 0 {
		s.requeue(wait)
		var none T
		return none, &notYetError{wait}
	}
	start := time.Now()
	result, err := request(ctx)
	r.metrics.plexAnswered(endpoint, time.Since(start), err)
	r.budget.observe(err, r.Clock.Now(), r.pins.openCount() > 0)
	return result, err
}

// isNotYet says that a request was not made because the budget is used up.
func isNotYet(err error) bool {
	var notYet *notYetError
	return errors.As(err, &notYet)
}

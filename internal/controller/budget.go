package controller

import (
	"context"
	"errors"
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
)

// maxPause bounds the pause after HTTP 429 without Retry-After while nobody waits with a PIN in hand.
const maxPause = 5 * time.Minute

// restOfPause is how much longer than open PINs everything else waits after a pause: a PIN that was entered meanwhile
// has only seconds left.
const restOfPause = 2 * time.Second

// budget is the one allowance of requests to plex.tv for the whole operator. Nobody waits in it: who is too early has a
// reservation and comes back.
type budget struct {
	mu           sync.Mutex
	limiter      *rate.Limiter
	reservations map[types.UID]time.Time
	pausedUntil  time.Time
	throttled    int // answers 429 in a row
}

func newBudget(qps float64, burst int) *budget {
	return &budget{limiter: rate.NewLimiter(rate.Limit(qps), burst), reservations: map[types.UID]time.Time{}}
}

// take returns 0 when the link may make one request now, else how long it has to wait.
func (b *budget) take(link types.UID, now time.Time, polling bool) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if pause := b.pausedUntil.Sub(now); pause > 0 {
		if !polling {
			pause += restOfPause
		}
		return pause
	}
	at, reserved := b.reservations[link]
	if !reserved {
		at = now.Add(b.limiter.ReserveN(now, 1).DelayFrom(now))
	}
	if wait := at.Sub(now); wait > 0 {
		b.reservations[link] = at
		return wait
	}
	delete(b.reservations, link)
	return 0
}

// forget drops the reservation of a link that is gone.
func (b *budget) forget(link types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.reservations, link)
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
		limit := maxPause
		if pinsOpen {
			limit = pollCeiling
		}
		pause = min(time.Second<<min(b.throttled, 10), limit)
		b.throttled++
	}
	if until := now.Add(pause); until.After(b.pausedUntil) {
		b.pausedUntil = until
	}
}

// notYetError says that the budget has no request left for now.
type notYetError struct{ wait time.Duration }

func (e *notYetError) Error() string { return "the budget of requests to plex.tv is used up for now" }

// ask makes one request to plex.tv within the budget. Without allowance it asks for another reconciliation and returns
// a *notYetError.
func ask[T any](ctx context.Context, r *Reconciler, s *scope, polling bool, request func(context.Context) (T, error)) (T, error) {
	if wait := r.budget.take(s.link.UID, r.Clock.Now(), polling); wait > 0 {
		s.requeue(wait)
		var none T
		return none, &notYetError{wait}
	}
	result, err := request(ctx)
	r.budget.observe(err, r.Clock.Now(), r.pins.openCount() > 0)
	return result, err
}

// isNotYet says that a request was not made because the budget is used up.
func isNotYet(err error) bool {
	var notYet *notYetError
	return errors.As(err, &notYet)
}

package controller

import (
	"context"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"

	"plexlink.dev/operator/internal/pace"
	"plexlink.dev/operator/internal/plex"
)

// ask makes one request to plex.tv within the budget. Without allowance it requeues the link and returns errLater.
func ask[T any](ctx context.Context, r *Reconciler, s *scope, u pace.Urgency, endpoint string,
	request func(context.Context) (T, error),
) (T, error) {
	var none T
	if wait := r.pace.Take(s.pace(), u, r.Clock.Now()); wait > 0 {
		s.requeue(wait)
		return none, errLater
	}
	asked, start := r.Clock.Now(), time.Now()
	result, err := request(ctx)
	class := plex.Classify(err)
	r.metrics.plexAnswered(endpoint, time.Since(start), class)
	r.pace.Answered(pace.Answer{
		OK:         class != plex.ClassThrottled && class != plex.ClassUnavailable && class != plex.ClassCanceled,
		Throttled:  class == plex.ClassThrottled,
		RetryAfter: plex.RetryAfter(err),
		Asked:      asked,
	}, r.Clock.Now())
	if class == plex.ClassCanceled {
		return none, errLater
	}
	if err != nil {
		log.FromContext(ctx).V(1).Info("Request to plex.tv failed", "endpoint", endpoint, "error", err.Error())
	}
	return result, err
}

// slotInterval is the shortest time after which a link asks for a slot again.
const slotInterval = 500 * time.Millisecond

// slots bound how many workers check servers at a time, so that slow servers leave room for polls. Refreshes get half of
// them; the rest is for links that a person is waiting for.
type slots struct {
	mu    sync.Mutex
	limit int
	taken int
	// next is when the next refused link may ask again, by whether it is a refresh. Ten thousand links asking twice a second
	// would keep all workers busy.
	next map[bool]time.Time
}

func newSlots(workers int) *slots {
	return &slots{limit: max(workers/2, 1), next: map[bool]time.Time{}}
}

// take reserves a slot, which the caller gives back, and returns 0. If none is free it returns how long to wait.
func (b *slots) take(u pace.Urgency, now time.Time) time.Duration {
	limit, refresh := b.limit, u == pace.Refresh
	if refresh {
		limit = max(limit/2, 1)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.taken < limit {
		b.taken++
		return 0
	}
	next := b.next[refresh].Add(slotInterval / time.Duration(limit))
	if wait := next.Sub(now); wait < slotInterval || wait > time.Hour {
		next = now.Add(slotInterval)
	}
	b.next[refresh] = next
	return next.Sub(now)
}

// giveBack frees the slot that take reserved.
func (b *slots) giveBack() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken--
}

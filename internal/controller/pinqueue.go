package controller

import (
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// pinQueue decides which links may have a PIN open. An open PIN must be polled at least every pollCeiling, so only as
// many can be open as the budget can poll; the others wait their turn, first come first served.
type pinQueue struct {
	mu      sync.Mutex
	qps     float64
	open    map[types.UID]time.Time // with the time of the last poll
	waiting []waiter                // in order of since
}

type waiter struct {
	link  types.UID
	since time.Time
}

func newPINQueue(qps float64) *pinQueue {
	return &pinQueue{qps: qps, open: map[types.UID]time.Time{}}
}

// limit is the number of PINs that may be open. Polls may take half of the budget; the other half is for what follows
// when a person has entered one, so that it is not delayed by those who have not.
func (q *pinQueue) limit() int {
	return max(1, int(q.qps/2*pollTarget.Seconds()))
}

// interval is the time between two polls of one PIN.
func (q *pinQueue) interval() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	wanted := time.Duration(float64(len(q.open)) / (q.qps / 2) * float64(time.Second))
	return min(max(wanted, pollFloor), pollCeiling)
}

// admit returns 0 when the link may have a PIN open, else its place in the queue, which it joins as of since.
func (q *pinQueue) admit(link types.UID, since time.Time) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.open[link]; ok {
		return 0
	}
	i := q.join(link, since)
	if free := q.limit() - len(q.open); i >= free {
		return i - max(free, 0) + 1
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	q.open[link] = time.Time{}
	return 0
}

// join returns the index of a link in the queue, which it enters behind all who came before since.
func (q *pinQueue) join(link types.UID, since time.Time) int {
	if i := slices.IndexFunc(q.waiting, func(w waiter) bool { return w.link == link }); i >= 0 {
		return i
	}
	i, _ := slices.BinarySearchFunc(q.waiting, since, func(w waiter, t time.Time) int {
		if w.since.After(t) {
			return 1
		}
		return -1
	})
	q.waiting = slices.Insert(q.waiting, i, waiter{link, since})
	return i
}

// enqueue takes in a link that waited already, as after a restart.
func (q *pinQueue) enqueue(link types.UID, since time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.join(link, since)
}

// resume takes in a link that has a PIN open already, as after a restart, limit or not.
func (q *pinQueue) resume(link types.UID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.open[link]; !ok {
		q.open[link] = time.Time{}
	}
}

// untilPoll returns how long the next poll of a link's PIN has to wait.
func (q *pinQueue) untilPoll(link types.UID, now time.Time) time.Duration {
	interval := q.interval()
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.open[link].Add(interval).Sub(now)
}

// polled notes that a link's PIN was polled.
func (q *pinQueue) polled(link types.UID, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open[link] = now
}

// leave takes a link out: it has no PIN open and wants none.
func (q *pinQueue) leave(link types.UID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.open, link)
	q.waiting = slices.DeleteFunc(q.waiting, func(w waiter) bool { return w.link == link })
}

// queueLength is the number of links that wait for their turn.
func (q *pinQueue) queueLength() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// openCount is the number of PINs that are open.
func (q *pinQueue) openCount() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.open)
}

package pace

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// queue is a Pace that notes the links whose turn has come.
type queue struct {
	*Pace
	turns []Link
}

func newQueue(qps float64) *queue {
	q := &queue{}
	q.Pace = New(Options{QPS: qps, Burst: 10, Turn: func(l Link) { q.turns = append(q.turns, l) }})
	return q
}

// wantTurns checks the turns since the last call.
func (q *queue) wantTurns(t *testing.T, want ...Link) {
	t.Helper()
	if !slices.Equal(q.turns, want) {
		t.Errorf("got turns of %v, want %v", q.turns, want)
	}
	q.turns = nil
}

// oneByOne lets every link that gets a place give it back at once, and returns the order.
func (q *queue) oneByOne(now time.Time) []Link {
	var order []Link
	for len(q.turns) > 0 {
		l := q.turns[0]
		q.turns = q.turns[1:]
		if q.Admit(l, now, now) {
			order = append(order, l)
		}
		q.LeavePIN(l)
	}
	return order
}

func in(namespace string, i int) Link { return Link{namespace, fmt.Sprintf("link-%04d", i)} }

func after(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

func TestPlacesFollowTheRate(t *testing.T) {
	t.Parallel()
	for qps, want := range map[float64]int{0.1: 1, 0.5: 1, 1: 2, 1.4: 2, 1.5: 3, 2.5: 5, 5: 10, 50: 100} {
		q := newQueue(qps)
		admitted := 0
		for i := range 200 {
			if q.Admit(link(i), start, start) {
				admitted++
			}
		}
		if admitted != want || q.OpenPINs() != want || q.QueueLength() != 200-want {
			t.Errorf("qps %v: got %d admitted, %d open, %d queued, want %d, %d, %d", qps, admitted, q.OpenPINs(), q.QueueLength(), want, want, 200-want)
		}
		q.wantTurns(t)
	}
}

func TestPollIntervalFollowsOpenPINsAndRate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		qps  float64
		open int
		want time.Duration
	}{
		{5, 0, time.Second},
		{5, 1, time.Second},
		{5, 5, 2 * time.Second},
		{5, 10, 4 * time.Second},
		{5, 12, 4800 * time.Millisecond},
		{5, 40, 5 * time.Second},
		{0.5, 1, 4 * time.Second},
		{0.5, 2, 5 * time.Second},
	} {
		q := newQueue(c.qps)
		for i := range c.open {
			q.ResumePIN(link(i))
			q.ResumePIN(link(i)) // The second time changes nothing.
		}
		if got := q.PollInterval(); got != c.want {
			t.Errorf("qps %v, %d open: got %s between two polls, want %s", c.qps, c.open, got, c.want)
		}
	}
}

func TestUntilPoll(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		polled, now int // seconds; polled 0: not yet
		want        time.Duration
	}{
		"never polled":           {0, 10, 0},
		"polled now":             {10, 10, 4 * time.Second},
		"polled":                 {10, 13, time.Second},
		"due":                    {10, 14, 0},
		"overdue":                {10, 20, 0},
		"the clock was set back": {1000, 10, 4 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(0.5)
			q.ResumePIN(link(0))
			if c.polled > 0 {
				q.Polled(link(0), after(c.polled))
			}
			if got := max(q.UntilPoll(link(0), after(c.now)), 0); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestPINIsPolledAfterTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	q := newQueue(0.5)
	q.ResumePIN(link(0))
	q.Polled(link(0), after(1000))
	q.UntilPoll(link(0), after(10))
	if got := q.UntilPoll(link(0), after(14)); got > 0 {
		t.Errorf("got %s until the poll 4 s after the clock was set back, want it due", got)
	}
}

func TestNewPINCountsAsNotPolled(t *testing.T) {
	t.Parallel()
	q := newQueue(0.5)
	q.Admit(link(0), start, start)
	q.Polled(link(0), start)
	q.Failed(link(0), PollPIN, pollCeiling, start) // Keeps the entry.
	q.LeavePIN(link(0))
	q.Polled(link(0), start) // It has none.
	q.Admit(link(0), start, start)
	if got := q.UntilPoll(link(0), start); got > 0 {
		t.Errorf("got %s until the first poll of a new PIN, want it due", got)
	}
}

func TestQueueIsInOrderOfArrival(t *testing.T) {
	t.Parallel()
	q := newQueue(0.5) // one place
	q.Admit(link(0), start, start)
	for _, i := range []int{3, 1, 5, 2, 4} {
		if q.Admit(link(i), after(i), after(10)) || !q.Queued(link(i)) {
			t.Errorf("link %d has a place or is not queued while there is no room", i)
		}
		q.Admit(link(i), after(-i), after(20)) // Asking again changes nothing.
	}
	q.LeavePIN(link(2))
	q.LeavePIN(link(0))
	if got, want := q.oneByOne(after(30)), []Link{link(1), link(3), link(4), link(5)}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := q.Links(); got != 0 {
		t.Errorf("got %d entries, want none", got)
	}
}

func TestRateDecidesHowManyGetAPIN(t *testing.T) {
	t.Parallel()
	q := newQueue(5)
	for i := range 20 {
		q.Admit(link(i), after(i), start)
	}
	q.Answered(Answer{Throttled: true, Asked: start}, start) // 2.5: room for five
	if got := q.OpenPINs(); got != 10 {
		t.Errorf("got %d open PINs after the rate fell, want all 10 still", got)
	}
	for i := range 5 {
		q.LeavePIN(link(i))
	}
	q.wantTurns(t)
	q.LeavePIN(link(5))
	q.wantTurns(t, link(10))
	q.Admit(link(10), start, start)
	for i := range 31 { // Half a minute is half a request per second: room for one more.
		q.Answered(Answer{OK: true}, after(i+1))
	}
	q.wantTurns(t, link(11))
	for i := 31; i < 180; i++ {
		q.Answered(Answer{OK: true}, after(i+1))
	}
	if got := len(q.turns); got < 4 || q.Rate() != 5 {
		t.Errorf("got %d more turns at rate %v, want at least 4 at 5", got, q.Rate())
	}
}

func TestRefusedMintBlocksNothing(t *testing.T) {
	t.Parallel()
	q := newQueue(5)
	for i := range 10 {
		q.Admit(link(i), start, start)
	}
	q.Admit(link(10), after(1), after(1))
	for i := range 10 {
		if wait := q.Failed(link(i), MintPIN, time.Minute, after(1)); wait != time.Second {
			t.Errorf("got %s to wait after a refused PIN, want 1s", wait)
		}
		q.LeavePIN(link(i))
	}
	q.wantTurns(t, link(10))
	if got := q.Failures(link(0), MintPIN); got != 1 {
		t.Errorf("got %d failures of a link that left the queue, want 1", got)
	}
}

// Creation times have whole seconds, so links that are created together have one time.
func TestLinksOfOneTimeComeInTheOrderInWhichTheyJoined(t *testing.T) {
	t.Parallel()
	q := newQueue(0.5) // room for one PIN
	for i := range 4 {
		q.Admit(in("media", 3-i), start, start)
	}
	q.LeavePIN(in("media", 3))
	if got, want := q.oneByOne(start), []Link{in("media", 2), in("media", 1), in("media", 0)}; !slices.Equal(got, want) {
		t.Errorf("got turns of %v, want %v", got, want)
	}
}

package pace

import (
	"slices"
	"testing"
	"time"
)

func TestTurnComesWithEveryFreePlace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		free func(*queue)
		want []Link
	}{
		"a PIN is gone":             {func(q *queue) { q.LeavePIN(link(0)) }, []Link{link(2)}},
		"a link is gone":            {func(q *queue) { q.Forget(link(0)) }, []Link{link(2)}},
		"both":                      {func(q *queue) { q.Forget(link(0)); q.LeavePIN(link(1)) }, []Link{link(2), link(3)}},
		"a PIN is refused":          {func(q *queue) { q.Failed(link(0), MintPIN, time.Minute, start); q.LeavePIN(link(0)) }, []Link{link(2)}},
		"a reservation is given up": {func(q *queue) { q.LeavePIN(link(0)); q.LeavePIN(link(2)) }, []Link{link(2), link(3)}},
		"a reservation is gone":     {func(q *queue) { q.LeavePIN(link(0)); q.Forget(link(2)) }, []Link{link(2), link(3)}},
		"the first in line left":    {func(q *queue) { q.LeavePIN(link(2)); q.LeavePIN(link(0)) }, []Link{link(3)}},
		"the first in line is gone": {func(q *queue) { q.Forget(link(2)); q.LeavePIN(link(0)) }, []Link{link(3)}},
		"none":                      {func(q *queue) { q.LeavePIN(link(4)); q.Forget(link(100)); q.Admit(link(0), start, start) }, nil},
		"a PIN was open after all":  {func(q *queue) { q.ResumePIN(link(2)); q.LeavePIN(link(0)) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(1) // two places
			for i := range 5 {
				q.Admit(link(i), after(i), start)
			}
			c.free(q)
			q.wantTurns(t, c.want...)
		})
	}
}

func TestTurnIsTaken(t *testing.T) {
	t.Parallel()
	q := newQueue(0.5)
	for i := range 3 {
		q.Admit(link(i), after(i), start)
	}
	q.LeavePIN(link(0))
	q.wantTurns(t, link(1))
	if q.Queued(link(1)) || q.OpenPINs() != 0 || q.QueueLength() != 1 {
		t.Errorf("got queued %t, %d open, queue %d with a place reserved, want false, 0, 1", q.Queued(link(1)), q.OpenPINs(), q.QueueLength())
	}
	if q.Admit(link(3), start.Add(-time.Hour), start) {
		t.Error("the reserved place went to another link")
	}
	if !q.Admit(link(1), start, start) || q.OpenPINs() != 1 {
		t.Error("the link whose turn has come got no place")
	}
	q.wantTurns(t)
}

func TestTurnMayUseThePace(t *testing.T) {
	t.Parallel()
	var p *Pace
	admitted := 0
	p = New(Options{QPS: 0.5, Burst: 1, Turn: func(l Link) {
		if p.Admit(l, start, start) {
			admitted++
		}
		p.Forget(l)
	}})
	for i := range 10 {
		p.Admit(link(i), start, start)
	}
	p.Forget(link(0))
	if admitted != 9 || p.Links() != 0 {
		t.Errorf("got %d turns taken, %d entries, want 9, 0", admitted, p.Links())
	}
}

func TestPlaceThatIsNotTakenGoesToTheNext(t *testing.T) {
	t.Parallel()
	q := newQueue(0.5)
	for i := range 4 {
		q.Admit(link(i), after(i), start)
	}
	q.Forget(link(0))
	q.wantTurns(t, link(1))
	q.ThrottledTime(after(100)) // The first to tell the time.
	q.Rate()
	q.ThrottledTime(after(130))
	q.wantTurns(t)
	q.ThrottledTime(after(131))
	q.wantTurns(t, link(2))
	if !q.Queued(link(1)) {
		t.Error("the link that did not come is no longer queued")
	}
	q.PollInterval()
	for _, c := range []struct {
		now  int
		want Link
	}{
		{131, Link{}},
		{162, link(3)}, // Those that have not been asked go before those that did not come.
		{163, Link{}},
		{194, link(1)},
	} {
		q.Remaining(link(1), MintPIN, after(c.now))
		if c.want == (Link{}) {
			q.wantTurns(t)
		} else {
			q.wantTurns(t, c.want)
		}
	}
	if q.Admit(link(3), start, after(195)) {
		t.Error("a link that is late has the place of another")
	}
	q.LeavePIN(link(1))
	q.wantTurns(t, link(3)) // It was heard of since, link 2 was not.
}

func TestEachReservationHasItsOwnTime(t *testing.T) {
	t.Parallel()
	q := newQueue(1) // two places
	for i := range 6 {
		q.Admit(link(i), after(i), start)
	}
	q.LeavePIN(link(0))
	q.ThrottledTime(after(100))
	q.LeavePIN(link(1))
	q.ThrottledTime(after(120))
	q.wantTurns(t, link(2), link(3))
	q.ThrottledTime(after(131))
	q.wantTurns(t, link(4))
	q.ThrottledTime(after(149))
	q.wantTurns(t)
	q.ThrottledTime(after(151))
	q.wantTurns(t, link(5))
}

func TestClockSetBackEndsAReservation(t *testing.T) {
	t.Parallel()
	q := newQueue(0.5)
	for i := range 3 {
		q.Admit(link(i), after(i), start)
	}
	q.Forget(link(0))
	q.ThrottledTime(after(0))
	q.ThrottledTime(after(-3600))
	q.wantTurns(t, link(1), link(2))
}

func TestOnlyLinkIsRemindedOfItsTurn(t *testing.T) {
	t.Parallel()
	q := newQueue(0.5)
	q.Admit(link(0), start, start)
	q.Admit(link(1), start, start)
	q.LeavePIN(link(0))
	q.wantTurns(t, link(1))
	q.Take(link(9), Poll, start)
	q.Take(link(9), Poll, after(31))
	q.wantTurns(t, link(1))
	if !q.Admit(link(1), start, after(100)) {
		t.Error("the only link that waits got no place")
	}
	q.wantTurns(t) // It is not called for what it has already.
}

func TestThousandLinksDelayAnotherNamespaceByOneTurn(t *testing.T) {
	t.Parallel()
	for _, qps := range []float64{0.5, 5} {
		q := newQueue(qps)
		for i := range 1000 {
			q.Admit(in("many", i), start, start)
		}
		var holding []Link
		for i := range q.OpenPINs() {
			holding = append(holding, in("many", i))
		}
		few := in("few", 0)
		q.Admit(few, after(3600), after(3600))
		q.LeavePIN(holding[0])
		q.wantTurns(t, few)
		if !q.Admit(few, start, after(3600)) {
			t.Errorf("qps %v: the link of the other namespace got no place after one turn", qps)
		}
	}
}

func TestTurnsAreFairBetweenNamespaces(t *testing.T) {
	t.Parallel()
	t.Run("among equals the one served longest ago", func(t *testing.T) {
		t.Parallel()
		q := newQueue(0.5)
		q.Admit(in("a", 0), start, start)
		for i := 1; i < 3; i++ {
			q.Admit(in("a", i), start, start) // Earlier than all others.
			q.Admit(in("b", i), after(2), start)
			q.Admit(in("c", i), after(1), start)
		}
		q.LeavePIN(in("a", 0))
		want := []Link{in("c", 1), in("b", 1), in("a", 1), in("c", 2), in("b", 2), in("a", 2)}
		if got := q.oneByOne(start); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
	t.Run("the one with the fewest places", func(t *testing.T) {
		t.Parallel()
		q := newQueue(1.5) // three places
		q.Admit(in("b", 0), start, start)
		q.Admit(in("a", 0), start, start)
		q.Admit(in("a", 1), start, start)
		q.Admit(in("a", 2), start, start)
		q.Admit(in("b", 1), after(1), start)
		q.Admit(in("c", 0), after(2), start)
		q.LeavePIN(in("a", 0)) // One each: b was served before a, but c has none.
		q.LeavePIN(in("a", 1)) // b and c have one each.
		q.LeavePIN(in("b", 0)) // The reserved places count.
		q.wantTurns(t, in("c", 0), in("a", 2), in("b", 1))
	})
	t.Run("a reserved place is a place", func(t *testing.T) {
		t.Parallel()
		q := newQueue(1) // two places
		for i, namespace := range []string{"a", "a", "b", "b", "c", "c"} {
			q.Admit(in(namespace, i), after(i), start)
		}
		q.LeavePIN(in("a", 0))
		q.LeavePIN(in("a", 1))
		q.LeavePIN(in("c", 4)) // c was served after b, but b has a place reserved.
		q.wantTurns(t, in("b", 2), in("c", 4), in("c", 5))
	})
}

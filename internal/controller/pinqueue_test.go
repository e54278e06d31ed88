package controller

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func uid(i int) types.UID { return types.UID(fmt.Sprint("link-", i)) }

func TestPINsAreGivenOutInOrderOfArrival(t *testing.T) {
	t.Parallel()
	q := newPINQueue(2.5) // five may be open
	for i := range 5 {
		if place := q.admit(uid(i), start); place != 0 {
			t.Fatalf("link %d has place %d although there is room", i, place)
		}
	}
	for i := 5; i < 8; i++ {
		if place := q.admit(uid(i), start.Add(time.Duration(i)*time.Second)); place != i-4 {
			t.Errorf("link %d has place %d, want %d", i, place, i-4)
		}
	}
	// One that came earlier, but is seen later, as after a restart.
	if place := q.admit(uid(8), start.Add(time.Second)); place != 1 {
		t.Errorf("the first to come has place %d", place)
	}
	q.leave(uid(0))
	if place := q.admit(uid(5), start); place != 1 {
		t.Errorf("the second in the queue has place %d while one place is free, want 1", place)
	}
	if place := q.admit(uid(8), start); place != 0 {
		t.Errorf("the first in the queue has place %d while one place is free, want a PIN", place)
	}
	q.leave(uid(6))
	if place := q.admit(uid(7), start); place != 2 {
		t.Errorf("the last has place %d after one before it left, want 2", place)
	}
}

func TestPollsTakeHalfOfTheBudgetAndNeverLeaveAPINAlone(t *testing.T) {
	t.Parallel()
	q := newPINQueue(5)
	for open, want := range map[int]time.Duration{0: time.Second, 1: time.Second, 5: 2 * time.Second, 10: 4 * time.Second, 12: 4800 * time.Millisecond} {
		q.open = map[types.UID]time.Time{}
		for i := range open {
			q.resume(uid(i))
		}
		if got := q.interval(); got != want {
			t.Errorf("with %d open PINs the interval is %s, want %s", open, got, want)
		}
	}
	if got := q.limit(); got != 10 {
		t.Errorf("%d PINs may be open, want 10", got)
	}
	for i := range 40 { // After a restart with a smaller budget more may be open than there should be.
		q.resume(uid(i))
	}
	if got := q.interval(); got != 5*time.Second {
		t.Errorf("the interval is %s, want 5s", got)
	}
}

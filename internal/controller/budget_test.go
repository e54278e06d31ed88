package controller

import (
	"testing"
	"time"

	"plexlink.dev/operator/internal/plex"
)

func TestRefreshesDelayNeitherPollsNorNewLinks(t *testing.T) {
	t.Parallel()
	b := newBudget(5, 10)
	for i := range 1000 {
		b.take(uid(i), start, refresh)
	}
	for i, u := range []urgency{poll, entered, ordinary} {
		want := time.Duration(i+1) * 200 * time.Millisecond
		if wait := b.take(uid(2000+i), start, u); wait != want {
			t.Errorf("in front of a thousand refreshes a request of urgency %d waits %s, want %s", u, wait, want)
		}
	}
}

func TestThoseWhoDoNotComeBackHoldNobodyUp(t *testing.T) {
	t.Parallel()
	b := newBudget(1, 1)
	b.take(uid(0), start, ordinary)
	for i := range 100 {
		b.take(uid(i), start, ordinary)
	}
	if wait := b.take(uid(200), start.Add(2*time.Minute), ordinary); wait != 0 {
		t.Errorf("the one who comes after all those who never came back waits %s", wait)
	}
}

func TestEndOfAPauseIsNoFlood(t *testing.T) {
	t.Parallel()
	b := newBudget(5, 10)
	for i := range 100 {
		b.take(uid(i), start, ordinary)
	}
	b.observe(&plex.ThrottledError{RetryAfter: time.Minute}, start, false)
	after, granted := start.Add(time.Minute+restOfPause), 0
	for i := range 100 {
		if b.take(uid(i), after, ordinary) == 0 {
			granted++
		}
	}
	if granted > 10 {
		t.Errorf("%d requests are made at once after a pause, want no more than the burst", granted)
	}
}

func TestAnswersToRequestsThatWereUnderWayDoNotProlongAPause(t *testing.T) {
	t.Parallel()
	b := newBudget(100, 100)
	for range 20 {
		b.observe(&plex.ThrottledError{}, start, false)
	}
	if wait := b.take(uid(0), start, poll); wait != time.Second {
		t.Errorf("the pause after twenty answers 429 at once is %s, want 1s", wait)
	}
}

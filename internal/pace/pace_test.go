package pace

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func link(i int) Link { return Link{"media", fmt.Sprintf("link-%04d", i)} }

func TestNothingPendingLeavesNoEntry(t *testing.T) {
	t.Parallel()
	l := link(0)
	for name, c := range map[string]struct{ begin, end func(*Pace) }{
		"a request that is made at once": {func(*Pace) {}, func(p *Pace) { p.Take(l, Poll, start) }},
		"a request that had to wait": {
			func(p *Pace) { p.Take(link(1), Refresh, start); p.Take(l, Refresh, start) },
			func(p *Pace) { p.Take(l, Refresh, start.Add(time.Second)) },
		},
		"a request that is not made after all": {
			func(p *Pace) { p.Take(link(1), Refresh, start); p.Take(l, Refresh, start) },
			func(p *Pace) { p.Take(link(1), Refresh, start.Add(time.Minute)) },
		},
		"a PIN": {
			func(p *Pace) { p.Admit(l, start, start); p.Polled(l, start) },
			func(p *Pace) { p.LeavePIN(l) },
		},
		"a poll of a PIN that is gone": {
			func(p *Pace) { p.Take(link(1), Poll, start); p.ResumePIN(l); p.Take(l, Poll, start) },
			func(p *Pace) { p.LeavePIN(l) },
		},
		"a failure":           {func(p *Pace) { p.Failed(l, SignOut, time.Minute, start) }, func(p *Pace) { p.Succeeded(l, SignOut) }},
		"a task that began":   {func(p *Pace) { p.FirstTried(l, EndLink, start) }, func(p *Pace) { p.Succeeded(l, EndLink) }},
		"a link that is gone": {pendingEverywhere, func(p *Pace) { p.Forget(l) }},
		"questions": {func(*Pace) {}, func(p *Pace) {
			p.Remaining(l, PollPIN, start)
			p.Failures(l, PollPIN)
			p.Succeeded(l, PollPIN)
			p.Polled(l, start)
			p.UntilPoll(l, start)
			p.Queued(l)
			p.LeavePIN(l)
			p.Forget(l)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := New(Options{QPS: 1, Burst: 1})
			c.begin(p)
			c.end(p)
			if got := p.Links(); got != 0 {
				t.Errorf("got %d entries, want none: %+v", got, p.links)
			}
		})
	}
}

func TestPlaceInLineSurvivesOtherChanges(t *testing.T) {
	t.Parallel()
	p := New(Options{QPS: 1, Burst: 1})
	for i := range 3 {
		p.Take(link(i), Entered, start)
	}
	p.ResumePIN(link(1))
	p.Failed(link(1), PollPIN, time.Minute, start)
	p.LeavePIN(link(1))
	p.Succeeded(link(1), PollPIN)
	if got := p.Take(link(1), Entered, start); got != time.Second {
		t.Errorf("got %s to wait, want 1s as before", got)
	}
}

// pendingEverywhere leaves something of every kind for link 0.
func pendingEverywhere(p *Pace) {
	p.Take(link(1), Poll, start)
	for task := MintPIN; task <= EndLink; task++ {
		p.Failed(link(0), task, time.Hour, start)
	}
	p.Admit(link(0), start, start)
	p.Polled(link(0), start)
	p.Take(link(0), Poll, start)
}

func TestForgottenLinkStartsOver(t *testing.T) {
	t.Parallel()
	p := New(Options{QPS: 1, Burst: 1})
	pendingEverywhere(p)
	p.Forget(link(0))
	if got := p.OpenPINs(); got != 0 {
		t.Errorf("got %d open PINs, want none", got)
	}
	for task := MintPIN; task <= EndLink; task++ {
		later := start.Add(time.Second)
		if failures, wait, first := p.Failures(link(0), task), p.Remaining(link(0), task, later), p.FirstTried(link(0), task, later); failures != 0 || wait != 0 || first != later {
			t.Errorf("task %d: got %d failures, %s to wait, begun at %s, want 0, 0s, %s", task, failures, wait, first, later)
		}
	}
	if wait := p.Take(link(2), Refresh, start.Add(time.Second)); wait != 0 {
		t.Errorf("got %s to wait behind the ticket of a forgotten link, want 0s", wait)
	}
}

func TestConcurrentUseEndsWithNothingPending(t *testing.T) {
	t.Parallel()
	var p *Pace
	p = New(Options{QPS: 5, Burst: 10, Turn: func(l Link) { p.Admit(l, start, start) }})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 0))
			for step := range 500 {
				l, now := link(random.IntN(30)), start.Add(time.Duration(step)*time.Second)
				switch random.IntN(9) {
				case 0:
					p.Take(l, Urgency(random.IntN(4)), now)
				case 1:
					p.Answered(Answer{OK: step%9 > 0, Throttled: step%9 == 0, RetryAfter: time.Duration(step%2) * time.Second, Asked: now}, now)
				case 2, 3:
					p.Admit(l, now, now)
				case 4:
					p.ResumePIN(l)
				case 5:
					p.LeavePIN(l)
				case 6:
					p.Failed(l, Task(random.IntN(10)), time.Minute, now)
				case 7:
					p.Succeeded(l, Task(random.IntN(10)))
				case 8:
					p.Forget(l)
				}
				p.UntilPoll(l, now)
				p.ThrottledTime(now)
			}
		})
	}
	wg.Wait()
	for i := range 30 {
		p.Forget(link(i))
	}
	if got := p.Links(); got != 0 || p.inLine != 0 || p.count != [places]int{} || len(p.lastTurn) != 0 {
		t.Errorf("got %d entries, %d in line, %v places, turns of %v, want none", got, p.inLine, p.count, p.lastTurn)
	}
}

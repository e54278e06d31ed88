package pace

import (
	"cmp"
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

const (
	seeds = 30
	// plexBurst is how many requests the simulated plex.tv answers at once, if it limits them at all.
	plexBurst = 2
)

// simulation runs links against a plex.tv in virtual time.
type simulation struct {
	random *rand.Rand
	now    time.Time
	due    events
	events int
	pace   *Pace
	links  map[Link]*simulatedLink

	enterWithin time.Duration // after a PIN is shown

	allowance float64 // requests per second that plex.tv answers; 0: all
	tells     bool    // plex.tv sends Retry-After
	bucket    float64
	filled    time.Time

	allowed       []time.Time // by the budget
	sent, refused int
}

// event is what is done at a time. The number keeps the order of events at the same time.
type event struct {
	at     time.Time
	number int
	do     func()
}

type events []event

func (e events) Len() int      { return len(e) }
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }

func (e events) Less(i, j int) bool {
	return cmp.Or(e[i].at.Compare(e[j].at), cmp.Compare(e[i].number, e[j].number)) < 0
}

func (e *events) Pop() any {
	last := len(*e) - 1
	popped := (*e)[last]
	*e = (*e)[:last]
	return popped
}

// simulatedLink mints a PIN, polls it until it is entered, and makes two more requests.
type simulatedLink struct {
	Link
	created  time.Time
	entered  time.Time
	polled   time.Time     // when plex.tv was last asked and answered
	gap      time.Duration // the longest between two polls
	lateness time.Duration // from entered to the poll that returns the token
	requests int           // answered since
	linked   time.Time
}

func newSimulation(seed uint64, o Options, allowance float64, enterWithin time.Duration) *simulation {
	s := &simulation{
		random: rand.New(rand.NewPCG(seed, 0)), now: start, links: map[Link]*simulatedLink{},
		enterWithin: enterWithin, allowance: allowance, bucket: plexBurst, filled: start,
	}
	o.Turn = func(l Link) { s.after(0, func() { s.mint(s.links[l]) }) }
	s.pace = New(o)
	return s
}

func (s *simulation) after(d time.Duration, do func()) {
	s.events++
	heap.Push(&s.due, event{s.now.Add(d), s.events, do})
}

func (s *simulation) run(d time.Duration) {
	for len(s.due) > 0 && !s.due[0].at.After(start.Add(d)) {
		e := heap.Pop(&s.due).(event)
		s.now = e.at
		e.do()
	}
}

func (s *simulation) upTo(d time.Duration) time.Duration {
	return time.Duration(s.random.Int64N(int64(d)))
}

// request makes a request within the budget, and whatever follows from its answer. What did not succeed is done again.
func (s *simulation) request(l *simulatedLink, u Urgency, t Task, again func(), answered func(at time.Time)) {
	wait := s.pace.Remaining(l.Link, t, s.now)
	if wait <= 0 {
		wait = s.pace.Take(l.Link, u, s.now)
	}
	if wait > 0 {
		s.after(wait, again)
		return
	}
	asked := s.now
	s.allowed = append(s.allowed, asked)
	s.after(20*time.Millisecond+s.upTo(80*time.Millisecond), func() {
		at, ok := s.now, s.answers()
		retryAfter := time.Duration(0)
		if !ok && s.tells { // In whole seconds.
			retryAfter = time.Duration(math.Ceil((1-s.bucket)/s.allowance)) * time.Second
		}
		s.after(20*time.Millisecond+s.upTo(80*time.Millisecond), func() {
			s.pace.Answered(Answer{OK: ok, Throttled: !ok, RetryAfter: retryAfter, Asked: asked}, s.now)
			if ok {
				s.pace.Succeeded(l.Link, t)
				answered(at)
				return
			}
			s.after(s.pace.Failed(l.Link, t, pollCeiling, s.now), again)
			if t == MintPIN {
				s.pace.LeavePIN(l.Link)
			}
		})
	})
}

// answers reports whether plex.tv answers a request that arrives now.
func (s *simulation) answers() bool {
	s.sent++
	s.bucket = min(s.bucket+s.allowance*s.now.Sub(s.filled).Seconds(), plexBurst)
	s.filled = s.now
	switch {
	case s.allowance == 0:
	case s.bucket < 1:
		s.refused++
		return false
	default:
		s.bucket--
	}
	return true
}

func (s *simulation) mint(l *simulatedLink) {
	if s.pace.Remaining(l.Link, MintPIN, s.now) <= 0 && !s.pace.Admit(l.Link, l.created, s.now) {
		return
	}
	s.request(l, Ordinary, MintPIN, func() { s.mint(l) }, func(at time.Time) { s.show(l, at) })
}

func (s *simulation) show(l *simulatedLink, minted time.Time) {
	s.pace.Polled(l.Link, s.now)
	l.polled = minted
	l.entered = s.now.Add(s.upTo(s.enterWithin))
	s.poll(l)
}

func (s *simulation) poll(l *simulatedLink) {
	again := func() { s.poll(l) }
	if wait := s.pace.UntilPoll(l.Link, s.now); wait > 0 {
		s.after(wait, again)
		return
	}
	s.request(l, Poll, PollPIN, again, func(at time.Time) {
		s.pace.Polled(l.Link, s.now)
		l.gap = max(l.gap, at.Sub(l.polled))
		l.polled = at
		if at.Before(l.entered) {
			again()
			return
		}
		l.lateness = at.Sub(l.entered)
		s.pace.LeavePIN(l.Link)
		s.finish(l)
	})
}

func (s *simulation) finish(l *simulatedLink) {
	again := func() { s.finish(l) }
	s.request(l, Entered, ResolveServer, again, func(time.Time) {
		if l.requests++; l.requests < 2 {
			again()
			return
		}
		l.linked = s.now
	})
}

// create creates links one after the other.
func (s *simulation) create(n int, apart time.Duration) {
	for i := range n {
		s.after(time.Duration(i)*apart, func() {
			l := &simulatedLink{Link: link(i), created: s.now}
			s.links[l.Link] = l
			s.mint(l)
		})
	}
}

// resume starts with links that have PINs open.
func (s *simulation) resume(n int) {
	for i := range n {
		l := &simulatedLink{Link: link(i)}
		s.links[l.Link] = l
		s.pace.ResumePIN(l.Link)
		s.show(l, s.now)
	}
}

// outcome is the worst of some simulations.
type outcome struct {
	unlinked, pending             int
	gap, lateness, toFinish, last time.Duration
	requests, refused             int
	refusedShare, overBudget      float64
}

func (o *outcome) add(s *simulation, qps float64) {
	for _, l := range s.links {
		if l.linked.IsZero() {
			o.unlinked++
			continue
		}
		o.gap, o.lateness = max(o.gap, l.gap), max(o.lateness, l.lateness)
		o.toFinish = max(o.toFinish, l.linked.Sub(l.entered)-l.lateness)
		o.last = max(o.last, l.linked.Sub(start))
	}
	o.pending = max(o.pending, s.pace.Links())
	o.requests, o.refused = o.requests+s.sent, max(o.refused, s.refused)
	o.refusedShare = max(o.refusedShare, float64(s.refused)/float64(s.sent))
	saved, before := 0.0, start
	for _, at := range s.allowed {
		saved = max(saved-qps*at.Sub(before).Seconds(), 0) + 1
		o.overBudget, before = max(o.overBudget, saved), at
	}
}

func (o *outcome) String() string {
	return fmt.Sprintf("the last was linked after %.0f s; at most %.1f s between two polls, %.1f s from entered to polled, "+
		"%.1f s from there to linked; %d requests, at most %.0f at once, at most %d and %.1f %% answered 429",
		o.last.Seconds(), o.gap.Seconds(), o.lateness.Seconds(), o.toFinish.Seconds(), o.requests, o.overBudget, o.refused,
		100*o.refusedShare)
}

func TestEveryEnteredPINIsPolledInTimeWhatPlexAllows(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		allowance float64
		begin     func(*simulation)
		within    time.Duration // all are linked
		late      time.Duration // a PIN may be polled after it was entered
		refused   float64       // the share of requests that may be answered 429
	}{
		"2/s, created at once":          {2, func(s *simulation) { s.create(10, 0) }, 10 * time.Minute, 9 * time.Second, 0.05},
		"2/s, created second by second": {2, func(s *simulation) { s.create(10, time.Second) }, 10 * time.Minute, 9 * time.Second, 0.05},
		"2/s, told in Retry-After": {2, func(s *simulation) {
			s.tells = true
			s.create(10, 0)
		}, 10 * time.Minute, 9 * time.Second, 0.05},
		"3/s, created at once": {3, func(s *simulation) { s.create(10, 0) }, 10 * time.Minute, 9 * time.Second, 0.05},
		"1/s, created at once": {1, func(s *simulation) { s.create(10, 0) }, 15 * time.Minute, 9 * time.Second, 0.08},
		// More than are admitted at such a rate: of 10,000 PINs one was polled 10.5 s after it was entered, and it lives 10 s.
		"2/s, open after a restart": {2, func(s *simulation) { s.resume(10) }, 10 * time.Minute, 12 * time.Second, 0.10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var worst outcome
			for seed := range uint64(seeds) {
				s := newSimulation(seed, Options{QPS: 5, Burst: 10}, c.allowance, 4*time.Minute)
				c.begin(s)
				s.run(c.within)
				worst.add(s, 5)
			}
			t.Logf("%s", &worst)
			if worst.unlinked > 0 || worst.pending > 0 {
				t.Errorf("got %d links not linked after %s and %d entries, want none", worst.unlinked, c.within, worst.pending)
			}
			if worst.lateness > c.late {
				t.Errorf("got a PIN polled %s after it was entered, want %s at most", worst.lateness, c.late)
			}
			if worst.refusedShare >= c.refused {
				t.Errorf("got %.1f %% of the requests answered 429, want less than %.0f %%", 100*worst.refusedShare, 100*c.refused)
			}
			if worst.overBudget > 10.001 {
				t.Errorf("got %.1f requests at once, want the burst of 10 at most", worst.overBudget)
			}
		})
	}
}

func TestHundredLinksShareTheBudget(t *testing.T) {
	t.Parallel()
	var worst outcome
	for seed := range uint64(seeds) {
		s := newSimulation(seed, Options{QPS: 5, Burst: 10}, 0, time.Minute)
		s.create(100, 0)
		s.run(time.Hour)
		worst.add(s, 5)
	}
	t.Logf("%s", &worst)
	if worst.unlinked > 0 || worst.pending > 0 {
		t.Errorf("got %d links not linked after an hour and %d entries, want none", worst.unlinked, worst.pending)
	}
	if worst.gap > pollCeiling {
		t.Errorf("got %s between two polls of one PIN, want 5s at most", worst.gap)
	}
	if worst.overBudget > 10.001 {
		t.Errorf("got %.1f requests at once, want the burst of 10 at most", worst.overBudget)
	}
}

package pace

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// granted returns how many of n links may make a request at a time.
func granted(p *Pace, n int, u Urgency, now time.Time) int {
	got := 0
	for i := range n {
		if p.Take(link(i), u, now) == 0 {
			got++
		}
	}
	return got
}

func TestBurstAfterAQuietTime(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		burst   int
		urgency Urgency
		want    int
	}{
		{10, Poll, 10},
		{10, Entered, 10},
		{10, Ordinary, 5},
		{10, Refresh, 5},
		{2, Ordinary, 1},
		{1, Refresh, 1},
	} {
		p := New(Options{QPS: 5, Burst: c.burst})
		if got := granted(p, 20, c.urgency, start); got != c.want {
			t.Errorf("burst %d, urgency %d: got %d requests at once, want %d", c.burst, c.urgency, got, c.want)
		}
	}
}

func TestRefreshesDelayNothingElse(t *testing.T) {
	t.Parallel()
	p := New(Options{QPS: 5, Burst: 10})
	granted(p, 1000, Refresh, start)
	for i, u := range []Urgency{Poll, Entered} {
		if wait := p.Take(link(2000+i), u, start); wait != 0 {
			t.Errorf("urgency %d: got %s to wait in front of a thousand refreshes, want 0s", u, wait)
		}
	}
	if wait := p.Take(link(3000), Ordinary, start); wait > time.Second {
		t.Errorf("got a PIN minted %s later in front of a thousand refreshes, want 1s at most", wait)
	}
}

func TestLineIsOrderedByUrgencyThenArrival(t *testing.T) {
	t.Parallel()
	p := New(Options{QPS: 1, Burst: 1})
	p.Take(link(9), Poll, start)
	urgencies := []Urgency{Refresh, Ordinary, Entered, Poll, Refresh, Ordinary, Entered, Poll}
	for i, u := range urgencies {
		p.Take(link(i), u, start)
	}
	for i, want := range []time.Duration{7, 5, 3, 1, 8, 6, 4, 2} {
		if got := p.Take(link(i), urgencies[i], start); got != want*time.Second {
			t.Errorf("link %d of urgency %d: got %s to wait, want %ds", i, urgencies[i], got, want)
		}
	}
	if got := p.Take(link(0), Poll, start); got != 3*time.Second {
		t.Errorf("got %s to wait with a new urgency, want 3s, behind those that have it already", got)
	}
	if got := p.Take(link(3), Poll, start.Add(time.Second)); got != 0 {
		t.Errorf("got %s to wait for the first in line, want 0s", got)
	}
}

func TestBudgetFillsAfterTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	p := New(Options{QPS: 1, Burst: 1})
	granted(p, 1, Poll, start)
	back := start.Add(-time.Hour)
	if got := p.Take(link(1), Poll, back); got != time.Second {
		t.Errorf("got %s to wait just after the clock was set back, want 1s", got)
	}
	if got := p.Take(link(1), Poll, back.Add(time.Second)); got != 0 {
		t.Errorf("got %s to wait a second later, want none", got)
	}
}

func TestRateIsReducedAfterTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	p := New(Options{QPS: 4, Burst: 4})
	p.Answered(Answer{Throttled: true, Asked: start.Add(-time.Second)}, start)
	back := start.Add(-time.Hour)
	p.Answered(Answer{Throttled: true, Asked: back}, back.Add(time.Second))
	if got := p.Rate(); got != 1 {
		t.Errorf("got the rate %v after two 429s, want 1", got)
	}
}

func TestAbandonedTicketsDoNotBlockOthers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		after time.Duration
		want  time.Duration
	}{
		"none is late":              {5 * time.Second, 100 * time.Second},
		"some are late":             {100 * time.Second, 6 * time.Second},
		"most are late":             {104 * time.Second, 2 * time.Second},
		"all are late":              {106 * time.Second, 0},
		"the clock is a bit behind": {-time.Second, 101 * time.Second},
		"the clock was set back":    {-time.Hour, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := New(Options{QPS: 1, Burst: 1})
			granted(p, 101, Ordinary, start)
			if got := p.Take(link(200), Ordinary, start.Add(c.after)); got != c.want {
				t.Errorf("got %s to wait, want %s", got, c.want)
			}
		})
	}
}

func TestPollsAreServedFirstComeFirstServed(t *testing.T) {
	t.Parallel()
	p := New(Options{QPS: 0.5, Burst: 1})
	polls, last, due := map[int]int{}, map[int]time.Time{}, map[int]time.Time{}
	for now := start; now.Before(start.Add(10 * time.Minute)); now = now.Add(100 * time.Millisecond) {
		for i := range 10 { // Ten that would like to be polled every 5 s: one in 2 s is allowed.
			if now.Before(due[i]) {
				continue
			}
			wait := p.Take(link(i), Poll, now)
			due[i] = now.Add(wait)
			if wait > 0 {
				continue
			}
			if gap := now.Sub(last[i]); polls[i] > 0 && gap > 21*time.Second {
				t.Errorf("got %s between two polls of link %d, want 20s", gap, i)
			}
			polls[i]++
			last[i], due[i] = now, now.Add(pollCeiling)
		}
	}
	for i := range 10 {
		if polls[i] < 28 {
			t.Errorf("got %d polls of link %d in 10 minutes, want 30", polls[i], i)
		}
	}
}

func TestRetryAfterPausesEverything(t *testing.T) {
	t.Parallel()
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	type told struct{ at, retryAfter int }
	for name, c := range map[string]struct {
		answers   []told
		now       int
		poll      int // seconds to wait
		until     int // 0: no pause
		throttled int
	}{
		"asked for":                       {[]told{{0, 60}}, 0, 60, 60, 0},
		"running":                         {[]told{{0, 60}}, 50, 10, 60, 50},
		"over":                            {[]told{{0, 60}}, 60, 0, 0, 60},
		"a shorter one does not end it":   {[]told{{0, 60}, {10, 10}}, 20, 40, 60, 20},
		"a longer one prolongs it":        {[]told{{0, 60}, {10, 100}}, 20, 90, 110, 20},
		"overlapping ones count once":     {[]told{{0, 60}, {10, 100}}, 200, 0, 0, 110},
		"two count both":                  {[]told{{0, 60}, {100, 30}}, 200, 0, 0, 90},
		"no longer than an hour":          {[]told{{0, 86400}}, 0, 3600, 3600, 0},
		"an hour counts as one":           {[]told{{0, 86400}}, 4000, 0, 0, 3600},
		"no longer with a clock set back": {[]told{{7200, 3600}}, 0, 3600, 3600, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := New(Options{QPS: 5, Burst: 10})
			for _, a := range c.answers {
				p.Answered(Answer{Throttled: true, RetryAfter: time.Duration(a.retryAfter) * time.Second, Asked: at(a.at)}, at(a.at))
			}
			now := at(c.now)
			if got := p.Take(link(0), Poll, now); got != time.Duration(c.poll)*time.Second {
				t.Errorf("got a poll that waits %s, want %ds", got, c.poll)
			}
			if got := p.PausedUntil(now); c.until == 0 && !got.IsZero() || c.until > 0 && got != at(c.until) {
				t.Errorf("got a pause until %s, want %ds after the start", got, c.until)
			}
			if got := p.ThrottledTime(now); c.until != 3600 && got != time.Duration(c.throttled)*time.Second {
				t.Errorf("got %s throttled, want %ds", got, c.throttled)
			}
			if got := p.Rate(); got >= 5 {
				t.Errorf("got rate %v, want less than 5", got)
			}
		})
	}
}

func TestPollsGoFirstAfterAPause(t *testing.T) {
	t.Parallel()
	end := start.Add(time.Minute)
	for _, u := range []Urgency{Entered, Ordinary, Refresh} {
		p := New(Options{QPS: 5, Burst: 10})
		p.Answered(Answer{Throttled: true, RetryAfter: time.Minute, Asked: start}, start)
		if got := p.Take(link(int(u)), u, start); got != 62*time.Second {
			t.Errorf("urgency %d: got %s to wait, want 62s", u, got)
		}
		if got := p.Take(link(9), u, end.Add(time.Second)); got != time.Second { // One that did not ask during the pause.
			t.Errorf("urgency %d: got %s to wait a second after the pause, want 1s", u, got)
		}
		if got := p.Take(link(100), Poll, end); got != 0 {
			t.Errorf("got a poll that waits %s after the pause, want 0s", got)
		}
	}
}

func TestEndOfAPauseCausesNoBurst(t *testing.T) {
	t.Parallel()
	p := New(Options{QPS: 5, Burst: 10})
	p.Answered(Answer{Throttled: true, RetryAfter: time.Minute, Asked: start}, start)
	granted(p, 100, Poll, start)
	if got := granted(p, 100, Poll, start.Add(time.Minute)); got != 1 {
		t.Errorf("got %d requests at once after a pause, want 1", got)
	}
}

func TestThrottlingHalvesTheRate(t *testing.T) {
	t.Parallel()
	type refusal struct{ asked, answered int } // milliseconds
	for name, c := range map[string]struct {
		qps      float64
		refusals []refusal
		want     float64
		open     int
	}{
		"none":                           {5, nil, 5, 0},
		"one":                            {5, []refusal{{0, 100}}, 2.5, 0},
		"many that were sent together":   {5, []refusal{{0, 100}, {0, 110}, {50, 120}, {100, 2000}}, 2.5, 0},
		"one that was sent since":        {5, []refusal{{0, 100}, {101, 2000}}, 1.25, 0},
		"never below one in 2 s":         {5, []refusal{{0, 1}, {2, 3}, {4, 5}, {6, 7}, {8, 9}, {10, 11}}, 0.5, 0},
		"never below what is set":        {0.2, []refusal{{0, 1}, {2, 3}}, 0.2, 0},
		"below what is set, if in 2 s":   {0.8, []refusal{{0, 1}}, 0.5, 0},
		"more than the lowest, not yet":  {5, []refusal{{0, 1}, {2, 3}, {4, 5}}, 0.625, 0},
		"never below what ten PINs need": {5, []refusal{{0, 1}, {2, 3}, {4, 5}, {6, 7}}, 1.25, 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := New(Options{QPS: c.qps, Burst: 10})
			for i := range c.open {
				p.ResumePIN(link(i))
			}
			at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
			for _, r := range c.refusals {
				p.Answered(Answer{Throttled: true, Asked: at(r.asked)}, at(r.answered))
			}
			if got := p.Rate(); got != c.want {
				t.Errorf("got rate %v, want %v", got, c.want)
			}
			if got := p.PausedUntil(start); !got.IsZero() {
				t.Errorf("got a pause until %s, want none", got)
			}
		})
	}
}

func TestReducedRateHasNoBurst(t *testing.T) {
	t.Parallel()
	p := New(Options{QPS: 5, Burst: 10})
	p.Answered(Answer{Throttled: true, Asked: start}, start)
	if got := p.Take(link(0), Poll, start); got != 400*time.Millisecond {
		t.Errorf("got %s to wait right after the reduction, want 400ms", got)
	}
	p.Forget(link(0))
	if got := granted(p, 10, Poll, start.Add(time.Hour)); got != 1 {
		t.Errorf("got %d requests at once at the reduced rate, want 1", got)
	}
}

func TestSuccessesRestoreTheRate(t *testing.T) {
	t.Parallel()
	ok, failed := Answer{OK: true}, Answer{}
	for name, c := range map[string]struct {
		answer Answer
		every  time.Duration
		during time.Duration
		want   float64
	}{
		"a minute of answers":             {ok, time.Second, time.Minute, 2.25},
		"two minutes of answers":          {ok, time.Second, 2 * time.Minute, 3.25},
		"as many answers at longer times": {ok, 5 * time.Second, 2 * time.Minute, 3.25},
		"as much time with many answers":  {ok, 100 * time.Millisecond, 2 * time.Minute, 3.25},
		"long enough":                     {ok, time.Second, 4 * time.Minute, 5},
		"failures":                        {failed, time.Second, 4 * time.Minute, 1.25},
		"one answer after a quiet time":   {ok, 4 * time.Minute, 4 * time.Minute, 1.25 + 5.0/30},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := New(Options{QPS: 5, Burst: 10})
			p.Answered(Answer{Throttled: true, Asked: start.Add(-time.Minute)}, start.Add(-time.Second))
			p.Answered(Answer{Throttled: true, Asked: start}, start)
			for d := c.every; d <= c.during; d += c.every {
				p.Answered(c.answer, start.Add(d))
			}
			if got := p.Rate(); math.Abs(got-c.want) > 1e-9 {
				t.Errorf("got rate %v, want %v", got, c.want)
			}
		})
	}
}

func TestFailuresDoNotRestoreTheRate(t *testing.T) {
	t.Parallel()
	p := New(Options{QPS: 5, Burst: 10})
	p.Answered(Answer{Throttled: true, Asked: start}, start)
	for i := range 60 { // Every other answer is a failure: only the seconds that end in a proper answer count.
		p.Answered(Answer{OK: i%2 == 1}, start.Add(time.Duration(i+1)*time.Second))
	}
	if got, want := p.Rate(), 3.0; math.Abs(got-want) > 1e-9 {
		t.Errorf("got rate %v, want %v", got, want)
	}
}

func TestFullRateRestoresTheBurst(t *testing.T) {
	t.Parallel()
	p := New(Options{QPS: 5, Burst: 10})
	p.Answered(Answer{Throttled: true, Asked: start}, start)
	now := start
	for p.Rate() < 5 {
		if got := granted(p, 3, Poll, now.Add(time.Minute)); got > 1 {
			t.Fatalf("got %d requests at once at rate %v, want 1 at most", got, p.Rate())
		}
		now = now.Add(time.Minute + 5*time.Second)
		p.Answered(Answer{OK: true}, now)
	}
	if got := granted(p, 20, Poll, now.Add(time.Minute)); got != 10 {
		t.Errorf("got %d requests at once at the full rate, want 10", got)
	}
}

func TestBudgetIsNeverExceeded(t *testing.T) {
	t.Parallel()
	const qps, burst = 5.0, 10
	p := New(Options{QPS: qps, Burst: burst})
	due, got := make([]time.Time, 50), 0
	const seconds = 60
	for now := start; now.Before(start.Add(seconds * time.Second)); now = now.Add(10 * time.Millisecond) {
		for i := range due {
			if now.Before(due[i]) {
				continue
			}
			wait := p.Take(Link{"media", fmt.Sprint(i)}, Urgency(i%4), now)
			due[i] = now.Add(wait)
			if wait == 0 {
				got++
			}
		}
	}
	if most := int(qps*seconds) + burst; got > most || got < int(qps*seconds) {
		t.Errorf("got %d requests in %d s, want between %d and %d", got, seconds, int(qps*seconds), most)
	}
}

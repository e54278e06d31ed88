package pace

import (
	"slices"
	"testing"
	"time"
)

func TestBackOffDoublesUpToItsLimit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limit time.Duration
		want  []time.Duration // seconds
	}{
		"a minute":       {time.Minute, []time.Duration{1, 2, 4, 8, 16, 32, 60, 60}},
		"five seconds":   {5 * time.Second, []time.Duration{1, 2, 4, 5, 5}},
		"a power of two": {4 * time.Second, []time.Duration{1, 2, 4, 4}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := New(Options{QPS: 5, Burst: 10})
			var got, want []time.Duration
			for i, seconds := range c.want {
				got, want = append(got, p.Failed(link(0), SignOut, c.limit, start)), append(want, seconds*time.Second)
				if failures := p.Failures(link(0), SignOut); failures != i+1 {
					t.Errorf("got %d failures, want %d", failures, i+1)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			p.Succeeded(link(0), SignOut)
			if wait := p.Failed(link(0), SignOut, c.limit, start); wait != time.Second {
				t.Errorf("got %s after a success, want 1s", wait)
			}
		})
	}
}

func TestBackOffNeverOverflows(t *testing.T) {
	t.Parallel()
	p := New(Options{QPS: 5, Burst: 10})
	for range 100 {
		if wait := p.Failed(link(0), SignOut, time.Hour, start); wait <= 0 || wait > time.Hour {
			t.Fatalf("got %s, want at most an hour", wait)
		}
	}
}

func TestRemaining(t *testing.T) {
	t.Parallel()
	p := New(Options{QPS: 5, Burst: 10})
	for range 4 {
		p.Failed(link(0), SignOut, time.Minute, start)
	}
	for _, c := range []struct{ now, want int }{ // seconds; in this order
		{0, 8},
		{3, 5},
		{8, 0},
		{9, 0},
		{-3600, 8}, // The clock was set back: as long as after the failure, once.
		{-3595, 3},
		{-3592, 0},
	} {
		if got := p.Remaining(link(0), SignOut, after(c.now)); got != time.Duration(c.want)*time.Second {
			t.Errorf("at %d s: got %s, want %d s", c.now, got, c.want)
		}
	}
}

func TestFirstTried(t *testing.T) {
	t.Parallel()
	p := New(Options{QPS: 5, Burst: 10})
	p.Failed(link(1), EndLink, time.Minute, start)
	for _, c := range []struct {
		link      Link
		now, want int // seconds; in this order
	}{
		{link(0), 5, 5},
		{link(0), 300, 5},
		{link(1), 300, 0},
		{link(0), -3600, -3600}, // The clock was set back: a beginning in the future is none.
		{link(0), 0, -3600},
	} {
		if got := p.FirstTried(c.link, EndLink, after(c.now)); got != after(c.want) {
			t.Errorf("%s at %d s: got %s, want %d s", c.link.Name, c.now, got, c.want)
		}
	}
	p.Failed(link(0), EndLink, time.Minute, after(10))
	if got := p.FirstTried(link(0), EndLink, after(20)); got != after(-3600) {
		t.Errorf("got %s after a failure, want it unchanged", got)
	}
}

func TestEachTaskOfEachLinkHasItsOwnBackOff(t *testing.T) {
	t.Parallel()
	p := New(Options{QPS: 5, Burst: 10})
	for range 1000 {
		p.Failed(link(0), ResolveServer, time.Minute, start)
	}
	if got := len(p.links[link(0)].attempts); got != 1 || p.Links() != 1 {
		t.Errorf("got %d attempts in %d entries after a thousand failures, want 1 in 1", got, p.Links())
	}
	for name, other := range map[string]struct {
		Link
		Task
	}{
		"another task": {link(0), PingToken},
		"another link": {link(1), ResolveServer},
		"a namesake":   {Link{"other", link(0).Name}, ResolveServer},
	} {
		if failures, wait := p.Failures(other.Link, other.Task), p.Remaining(other.Link, other.Task, start); failures != 0 || wait != 0 {
			t.Errorf("%s: got %d failures, %s to wait, want 0, 0s", name, failures, wait)
		}
	}
}

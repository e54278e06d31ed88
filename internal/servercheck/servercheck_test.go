package servercheck

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"plexlink.dev/operator/internal/plex"
)

// A server that is up every other minute, whether nothing or a proxy answers in its place.
func TestFlappingServerChangesAtMostTwiceInTenMinutes(t *testing.T) {
	t.Parallel()
	for _, gone := range []plex.Verdict{miss, other} {
		synctest.Test(t, func(t *testing.T) {
			const servers = 60
			phases := map[Target]time.Duration{}
			for i := range servers {
				phases[server(i)] = time.Duration(i) * 2 * time.Second
			}
			r := checker(t, servers, func(_ context.Context, at Target, since time.Duration) plex.Verdict {
				if (since+phases[at])/time.Minute%2 == 1 {
					return gone
				}
				return hit
			})
			pass(time.Hour)
			r.stop()
			total := 0
			for at, changes := range r.changes {
				total += len(changes)
				for i := 2; i < len(changes); i++ {
					if gap := changes[i].at.Sub(changes[i-2].at); gap < 10*time.Minute {
						t.Errorf("%s, %s: got three changes within %s, want two in ten minutes at most", gone, at.URL, gap)
					}
				}
			}
			if total == 0 {
				t.Errorf("%s: got no change at all, want some", gone)
			}
		})
	}
}

func TestServerThatIsSwitchedOffAndOnIsNoticedInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const servers, off, on, timeout = 100, 20 * time.Minute, 40 * time.Minute, 3 * time.Second
		r := checker(t, servers, func(_ context.Context, _ Target, since time.Duration) plex.Verdict {
			if since >= off && since < on {
				time.Sleep(timeout)
				return miss
			}
			return hit
		})
		began := time.Now()
		pass(off - time.Second)
		for i := range servers {
			if got := r.changesOf(i); len(got) != 0 {
				t.Errorf("got the changes %+v of server %d, want none while it answers", got, i)
			}
		}
		pass(time.Hour - off)
		r.stop()
		for i := range servers {
			changes := r.changesOf(i)
			if len(changes) != 2 || changes[0].up || !changes[1].up || changes[0].links != 1 || changes[1].links != 1 {
				t.Fatalf("got the changes %+v of server %d, want down and up for its link", changes, i)
			}
			if down := changes[0].at.Sub(began) - off; down > 150*time.Second {
				t.Errorf("got server %d down after %s, want 2.5 minutes at most", i, down)
			}
			if up := changes[1].at.Sub(began) - on; up > 90*time.Second {
				t.Errorf("got server %d up after %s, want 1.5 minutes at most", i, up)
			}
		}
		r.Each(func(at Target, links int, up bool, answered time.Time) {
			if links != 1 || !up || time.Since(answered) > 2*time.Minute {
				t.Errorf("%s: got %d links, up %t, answered at %s; want one, up, a minute ago", at.URL, links, up, answered)
			}
		})
		if up, changes := r.State(server(0)); !up || changes != 2 {
			t.Errorf("got up %t after %d changes, want up after two", up, changes)
		}
	})
}

func TestEachServerIsAskedOnceAMinuteAndAtAnotherTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const servers, slow = 1000, 17
		inSecond := map[time.Duration]int{}
		var mu sync.Mutex
		r := checker(t, servers, func(ctx context.Context, at Target, since time.Duration) plex.Verdict {
			mu.Lock()
			inSecond[since/time.Second]++
			mu.Unlock()
			if at == server(slow) { // It delays no other one.
				<-ctx.Done()
				return none
			}
			return hit
		})
		pass(time.Hour)
		r.stop()
		for i := range servers {
			got := r.requests(i)
			if i == slow && got != 1 || i != slow && (got < 57 || got > 61) {
				t.Errorf("got %d requests to server %d in an hour, want one a minute", got, i)
			}
		}
		for second, n := range inSecond {
			if n > 3*servers/60 {
				t.Errorf("got %d requests in second %d, want about %d in each", n, second, servers/60)
			}
		}
	})
}

func TestChecksRunAtOnceUpToALimitAndEndWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running, most := 0, 0
		add := func(n int) {
			mu.Lock()
			defer mu.Unlock()
			running += n
			most = max(most, running)
		}
		r := checker(t, 100, func(ctx context.Context, _ Target, _ time.Duration) plex.Verdict {
			add(1)
			defer add(-1)
			<-ctx.Done()
			return none
		})
		pass(5 * time.Minute)
		r.stop()
		if running != 0 || most != 32 || len(r.changes) != 0 {
			t.Errorf("got %d checks left, %d at once, %d changes; want none, 32, none", running, most, len(r.changes))
		}
	})
}

func TestBlockedCallbackDelaysItsOwnServerOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const servers = maxChecks + 10
		r := checker(t, servers, func(_ context.Context, at Target, since time.Duration) plex.Verdict {
			if at == server(0) || since < 10*time.Minute {
				return hit
			}
			return other
		})
		release := make(chan struct{})
		r.mu.Lock()
		r.release = release
		r.mu.Unlock()
		pass(20 * time.Minute)
		asked := r.requests(1)
		if got := r.requests(0); got < 18 || asked > 12 {
			t.Errorf("got %d requests to a server without a change and %d to one whose change blocks, want 20 and 11", got, asked)
		}
		close(release)
		pass(2 * time.Minute)
		if r.requests(1) == asked {
			t.Error("got no request after the callback has returned, want them to go on")
		}
		r.stop()
	})
}

func TestOneTargetIsCheckedOncePerIntervalHoweverManyLinksUseIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const links = 10_000
		r := checker(t, 0, func(_ context.Context, _ Target, since time.Duration) plex.Verdict {
			if since < 10*time.Minute {
				return hit
			}
			return miss
		})
		for i := range links {
			r.Watch(link(i), server(0), nil)
			r.Watch(link(i), server(0), nil)
		}
		pass(10 * time.Minute)
		if got := r.requests(0); got < 9 || got > 11 {
			t.Errorf("got %d checks in ten minutes, want one a minute", got)
		}
		pass(10 * time.Minute)
		if got := r.changesOf(0); len(got) != 1 || got[0].links != links || got[0].up {
			t.Errorf("got the changes %+v, want down for all links once", got)
		}
		if up, changes := r.State(server(0)); up || changes != 1 {
			t.Errorf("got up %t after %d changes, want down after one", up, changes)
		}
		for i := range links - 1 {
			r.Watch(link(i), server(1), nil)
		}
		r.Forget(link(links - 1))
		r.Forget(link(links))
		if up, changes := r.State(server(0)); !up || changes != 0 {
			t.Error("got a state of a target without links, want it forgotten")
		}
		for i := range links {
			r.Forget(link(i))
		}
		if len(r.targets) != 0 || len(r.links) != 0 {
			t.Errorf("got %d targets and %d links after all were forgotten, want none", len(r.targets), len(r.links))
		}
		r.stop()
	})
}

func TestWithoutAnIntervalNothingIsChecked(t *testing.T) {
	t.Parallel()
	c := New(Options{Clock: clocktesting.NewFakePassiveClock(start)})
	c.Watch(link(0), server(0), nil)
	if err := c.Start(t.Context()); err != nil {
		t.Errorf("got %v, want no error", err)
	}
}

func TestClockThatIsSetBackStopsNoChecks(t *testing.T) {
	t.Parallel()
	c := New(Options{Interval: time.Minute})
	c.Watch(link(0), server(0), nil)
	for _, since := range []time.Duration{56 * time.Hour, 0, -time.Hour, -time.Hour - 90*time.Second} {
		checks := 0
		for second := range 130 {
			for _, due := range c.due(start.Add(since + time.Duration(second)*time.Second)) {
				checks++
				due.checking = false
			}
		}
		if checks < 1 || checks > 3 {
			t.Errorf("got %d checks in the two minutes after the clock was set to %s, want one or two", checks, since)
		}
	}
}

package discovery

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func TestOneListPerMinuteServesAllCallersAndReadsAServiceOnce(t *testing.T) {
	t.Parallel()
	a := &api{slices: []discoveryv1.EndpointSlice{slice("media", "plex", endpoint("10.42.0.5"))}, services: map[string]corev1.Service{"plex": service(80)}}
	f, clock := finder(a)
	for second := range 60 {
		clock.SetTime(start.Add(time.Duration(second) * time.Second))
		if _, err := f.Find(t.Context(), addresses("10.42.0.5:32400")); err != nil {
			t.Fatal(err)
		}
	}
	if a.lists != 1 || a.gets != 1 {
		t.Errorf("got %d lists and %d reads in a minute, want one each", a.lists, a.gets)
	}
	for _, at := range []time.Time{start.Add(time.Minute), start.Add(-time.Hour)} { // The clock may be set back.
		clock.SetTime(at)
		before := a.lists
		if _, err := f.Find(t.Context(), nil); err != nil || a.lists != before+1 {
			t.Errorf("got %d lists and %v at %s, want a new one", a.lists-before, err, at)
		}
	}
}

func TestOnlyServedNamespacesAreSearched(t *testing.T) {
	t.Parallel()
	a := &api{
		slices: []discoveryv1.EndpointSlice{
			slice("media", "plex", endpoint("10.42.0.5")), slice("other", "plex", endpoint("10.42.0.5")), slice("plex", "plex", endpoint("10.42.0.5")),
		},
		services: map[string]corev1.Service{"plex": service(80)},
	}
	f, _ := finder(a, "media", "plex")
	got, err := f.Find(t.Context(), addresses("10.42.0.5:32400"))
	var namespaces []string
	for _, s := range got.Services {
		namespaces = append(namespaces, s.Namespace)
	}
	slices.Sort(namespaces)
	if !slices.Equal(namespaces, []string{"media", "plex"}) || err != nil {
		t.Errorf("got Services in %v, %v, want those that are served", namespaces, err)
	}
}

func TestMissingPermissionIsNoErrorAndLoggedOnce(t *testing.T) {
	t.Parallel()
	a := &api{
		slices:   []discoveryv1.EndpointSlice{slice("media", "plex", endpoint("10.42.0.5"))},
		services: map[string]corev1.Service{"plex": service(80)}, forbidden: "private",
	}
	f, clock := finder(a, "private", "media")
	before := logged("private") // by this test, if it runs more than once
	find := func(minute int, services, lines int) {
		t.Helper()
		clock.SetTime(start.Add(time.Duration(minute) * time.Minute))
		got, err := f.Find(t.Context(), addresses("10.42.0.5:32400"))
		if err != nil || len(got.Services) != services {
			t.Errorf("minute %d: got %d Services, %v, want %d and no error", minute, len(got.Services), err, services)
		}
		if got := logged("private") - before; got != lines {
			t.Errorf("minute %d: got %d lines in the log, want %d", minute, got, lines)
		}
	}
	find(0, 1, 1)
	find(1, 1, 1)
	a.listErr = errForbidden
	find(2, 0, 1)
	a.listErr, a.forbidden = nil, ""
	find(3, 1, 1)
	a.forbidden = "private"
	find(4, 1, 2)
}

func TestOutageIsAnErrorAndRetriedSoon(t *testing.T) {
	t.Parallel()
	a := &api{listErr: errors.New("etcd is away")}
	f, clock := finder(a)
	for range 3 {
		if _, err := f.Find(t.Context(), nil); !errors.Is(err, a.listErr) {
			t.Errorf("got %v, want %v", err, a.listErr)
		}
	}
	if a.lists != 1 {
		t.Errorf("got %d lists, want the failed one not repeated at once", a.lists)
	}
	a.listErr = nil
	clock.SetTime(start.Add(retryAfter))
	if _, err := f.Find(t.Context(), nil); err != nil {
		t.Errorf("got %v after the outage, want no error", err)
	}
}

func TestCallerThatGivesUpLeavesNoFailureBehind(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	a := &api{listErr: context.Canceled, asked: cancel}
	f, _ := finder(a)
	if _, err := f.Find(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	a.listErr = nil
	if _, err := f.Find(t.Context(), nil); err != nil {
		t.Errorf("got %v for the next caller, want no error", err)
	}
}

func TestServiceIsReadAgainUnlessTheAnswerWasDefinite(t *testing.T) {
	t.Parallel()
	at := addresses("10.42.0.5:32400")
	for err, reads := range map[error]int{errForbidden: 1, errors.New("etcd is away"): 3} {
		a := &api{slices: []discoveryv1.EndpointSlice{slice("media", "plex", endpoint("10.42.0.5"))}, getErr: err}
		f, _ := finder(a)
		for range 3 {
			if got, err := f.Find(t.Context(), at); err != nil || len(got.Services) != 1 {
				t.Errorf("got %d Services, %v, want one and no error", len(got.Services), err)
			}
		}
		if a.gets != reads {
			t.Errorf("%v: got %d reads of the Service for three callers, want %d", err, a.gets, reads)
		}
		f, _ = finder(a)
		ctx, cancel := context.WithCancel(t.Context())
		a.getErr, a.asked = context.Canceled, cancel // The caller gives up while the Service is read.
		if got, err := f.Find(ctx, at); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, %v, want the context's error", got, err)
		}
	}
}

func TestCallersShareOneListAndWaitNoLongerThanTheirContext(t *testing.T) {
	t.Parallel()
	a := &api{listing: make(chan chan struct{})}
	f, _ := finder(a)
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() {
			if _, err := f.Find(t.Context(), nil); err != nil {
				t.Error(err)
			}
		})
	}
	resume := <-a.listing // One of them lists now.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Find(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v while another caller lists, want the context's error", err)
	}
	close(resume)
	callers.Wait()
	if a.lists != 1 {
		t.Errorf("got %d lists for callers at the same time, want one", a.lists)
	}
}

func TestNothingIsKeptAfterAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{slices: []discoveryv1.EndpointSlice{slice("media", "plex", endpoint("10.42.0.5"))}}
		f, _ := finder(a)
		find := func(lists int) {
			t.Helper()
			if _, err := f.Find(t.Context(), nil); err != nil || a.lists != lists {
				t.Errorf("got %d lists, %v, want %d and no error", a.lists, err, lists)
			}
		}
		find(1)
		time.Sleep(freshFor - time.Second)
		find(1)
		time.Sleep(time.Second)
		synctest.Wait()
		if f.index != nil {
			t.Error("got an index that nothing needs, want none")
		}
		find(2)
	})
}

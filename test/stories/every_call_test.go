package stories

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	exhaustive   = flag.Bool("exhaustive", false, "let every call fail in every way, not only writes in two")
	onlyStory    = flag.String("story", "", "the only story that TestEveryCallMayFail tells")
	onlyCall     = flag.String("call", "", "text in the names of the only runs of a story, beside its reference")
	trialsAtOnce = flag.Int("trials", 24, "how many trials run at a time: they mostly wait")
)

// How a call goes wrong.
const (
	diesBefore   = "dies before"
	diesAfter    = "dies after"
	diesOldLists = "dies after, next one gets old lists"
	fails        = "fails"
	answerLost   = "answer lost"
)

// views are how the operator's watches differ from the API server in a mode without a call that goes wrong.
var views = map[string]func(*world, *strike) func(*operator){
	"watches 0.7s late": func(w *world, _ *strike) func(*operator) { return watchesLate(w, "", 700*time.Millisecond) },
	"watches 4s late":   func(w *world, _ *strike) func(*operator) { return watchesLate(w, "", 4*time.Second) },
	"events dropped":    func(w *world, k *strike) func(*operator) { return eventsDropped(w, k.isArmed) },
}

// call is the nth call with a name since the story began.
type call struct {
	name string
	n    int
}

func (c call) String() string { return fmt.Sprintf("%s #%d", c.name, c.n) }

// isWrite reports whether the call may change anything.
func (c call) isWrite() bool { return !strings.Contains(c.name, "GET ") }

// waiver is a call whose failure leaves an end that differs from the reference until the next refresh, and why that is right.
type waiver struct {
	call   string // the beginning of its name
	reason string
}

var waivers = []waiver{
	{"plex.tv GET /user", "the account is asked for again with the next refresh, unless it is needed before"},
	{"GET endpointslices", "an address of a Pod works, so a Service is looked for again with the next refresh"},
}

func isWaived(c call) bool {
	return slices.ContainsFunc(waivers, func(w waiver) bool { return strings.HasPrefix(c.name, w.call) })
}

// strike makes one call fail, and records the calls since it was armed.
type strike struct {
	namespace, plex string // to tell what a call is
	at              call
	mode            string
	since           atomic.Pointer[string]       // the resource version at which counting started
	hit             atomic.Pointer[http.Request] // that went wrong

	mu     sync.Mutex
	counts map[string]int
	calls  []call
}

func (s *strike) isArmed() bool { return s.since.Load() != nil }

func (s *strike) isHit(req *http.Request) bool { return s.hit.Load() == req }

// attach makes an operator's calls pass the strike.
func (s *strike) attach(o *operator) {
	o.diesBefore = func(req *http.Request) bool { return s.see(req) && s.mode == diesBefore }
	o.fail = func(req *http.Request) error {
		if s.isHit(req) && s.mode == fails {
			return errors.New("connection refused")
		}
		return nil
	}
	o.loses = func(req *http.Request) bool {
		if s.isHit(req) && (s.mode == diesAfter || s.mode == diesOldLists) && o.dead.CompareAndSwap(false, true) {
			close(o.died)
		}
		return s.isHit(req)
	}
}

// see counts a call and reports whether it is the one that goes wrong.
func (s *strike) see(req *http.Request) bool {
	name := s.nameOf(req)
	if !s.isArmed() || name == "" {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[name]++
	c := call{name, s.counts[name]}
	s.calls = append(s.calls, c)
	if c == s.at {
		s.hit.Store(req)
	}
	return c == s.at
}

// nameOf names a call; "" for a watch, an event or a list of an informer.
func (s *strike) nameOf(req *http.Request) string {
	if strings.HasSuffix(s.plex, "//"+req.URL.Host) {
		path := strings.TrimPrefix(req.URL.Path, "/api/v2")
		if strings.HasPrefix(path, "/pins/") {
			path = "/pins/ID"
		}
		return "plex.tv " + req.Method + " " + path
	}
	_, path, found := strings.Cut(req.URL.Path, "/namespaces/"+s.namespace+"/")
	q := req.URL.Query()
	if !found || q.Get("watch") != "" || q.Get("resourceVersion") != "" || strings.HasPrefix(path, "events") {
		return ""
	}
	return req.Method + " " + path
}

// result is the result of one trial.
type result struct {
	end          []string
	returns, pin int
	struck       bool
	calls        []call
	problem      string
	offModel     error // the versions of Secrets and PlexLink are no path of the model
}

// tell plays a story and returns its end. With a reference it waits until the end is the same.
func (s story) tell(w *world, at call, mode string, want *result) result {
	w.Helper()
	k := &strike{namespace: w.namespace, plex: w.sim.URL, at: at, mode: mode, counts: map[string]int{}}
	c := newTrial(w, func(o *operator) {
		k.attach(o)
		if view := views[mode]; view != nil {
			view(w, k)(o)
		}
		if mode == diesOldLists && k.hit.Load() != nil {
			oldLists(w, *k.since.Load())(o)
		}
	})
	if s.prepare != nil {
		s.prepare(c)
	}
	shown := c.pinsShown()
	version := w.resourceVersion()
	k.since.Store(&version)
	s.act(c)
	k.mu.Lock()
	r := result{struck: k.hit.Load() != nil, calls: slices.Clone(k.calls)}
	k.mu.Unlock()
	var last []string
	refreshAt := time.Now().Add(2 * time.Second)
	err := c.waitUntil(trialPatience, func() error {
		last = c.end()
		if want != nil && difference(want.end, last) != "" {
			if isWaived(at) && time.Now().After(refreshAt) {
				refreshAt = refreshAt.Add(trialPatience)
				c.clock.advance(70 * time.Minute)
			}
			return errors.New("the end differs:" + difference(want.end, last))
		}
		if err := c.quiet(); err != nil {
			return err
		}
		if d := difference(last, c.end()); d != "" {
			return errors.New("it goes on:" + d)
		}
		return nil
	})
	if err != nil {
		r.problem = err.Error()
	}
	r.end, r.pin, r.returns = last, c.pinsShown()-shown, len(c.returns())
	if want == nil {
		r.offModel = c.follows()
		return r
	}
	if r.pin > want.pin {
		r.problem += fmt.Sprintf("\n  a person was asked for %d PINs, want %d", r.pin, want.pin)
	}
	if r.returns > want.returns {
		r.problem += fmt.Sprintf("\n  these Secrets went back to an earlier content: %q", c.returns())
	}
	return r
}

// staleRestarts are the stories in which a manager with old lists did harm, so each change tries that.
var staleRestarts = []string{"delete with Revoke", "import", "template", "type"}

// modesOf returns how a call of a story is made to go wrong; if there is none, only the watches are disturbed. To die before a
// read is to die after the write before it.
func modesOf(story string, c call) []string {
	switch {
	case c.n == 0 && *exhaustive:
		return slices.Collect(maps.Keys(views))
	case c.n == 0:
		return []string{"watches 0.7s late", "events dropped"}
	case *exhaustive && c.isWrite():
		return []string{diesBefore, diesAfter, diesOldLists, fails, answerLost}
	case *exhaustive:
		return []string{fails, answerLost}
	case c.isWrite() && slices.Contains(staleRestarts, story):
		return []string{diesBefore, diesOldLists, answerLost}
	case c.isWrite():
		return []string{diesBefore, answerLost}
	default:
		return nil
	}
}

// TestEveryCallMayFail plays each story once without a fault, and records the operator's calls to the API server and to
// plex.tv. Then it plays the story again for each call and each way in which it may fail, and the end must be the same.
func TestEveryCallMayFail(t *testing.T) {
	t.Parallel()
	began := time.Now()
	var mu sync.Mutex
	var runs, unstruck int
	causes := map[string]int{}
	slots := make(chan struct{}, *trialsAtOnce)
	var all sync.WaitGroup
	run := func(name string, play func(w *world)) {
		slots <- struct{}{}
		defer func() { <-slots }()
		t.Run(name, func(t *testing.T) { play(newWorld(t)) })
	}
	for _, name := range slices.Sorted(maps.Keys(everyStory)) {
		s := everyStory[name]
		if *onlyStory != "" && *onlyStory != name {
			continue
		}
		all.Go(func() {
			var want result
			run(name+"/reference", func(w *world) {
				if want = s.tell(w, call{}, "", nil); want.problem != "" {
					w.Fatal(want.problem)
				}
				if slices.Contains(modeled, name) && want.offModel != nil {
					w.Error(want.offModel)
				}
				w.Logf("%d calls: %v\n%s", len(want.calls), want.calls, strings.Join(want.end, "\n"))
			})
			again := func(c call, mode string) {
				runName := fmt.Sprintf("%s/%s: %s", name, strings.ReplaceAll(c.String(), "/", "|"), mode)
				if !strings.Contains(runName, *onlyCall) {
					return
				}
				all.Go(func() {
					run(runName, func(w *world) {
						got := s.tell(w, c, mode, &want)
						mu.Lock()
						defer mu.Unlock()
						if runs++; !got.struck && views[mode] == nil {
							unstruck++
						}
						if got.problem != "" {
							causes[c.name+": "+mode]++
							w.Error(got.problem)
						}
					})
				})
			}
			for _, c := range append(want.calls, call{name: "no call"}) {
				for _, mode := range modesOf(name, c) {
					again(c, mode)
				}
			}
		})
	}
	all.Wait()
	t.Logf("every call may fail: %d runs, %d of them not struck, %d failures, %d causes %v, %s", runs, unstruck, sum(causes), len(causes),
		causes, time.Since(began).Round(time.Second))
}

func sum(counts map[string]int) (n int) {
	for _, count := range counts {
		n += count
	}
	return n
}

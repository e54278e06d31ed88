package stories

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

const (
	ourServer, otherServer = "My Plex Server", "Attic"
	// agreementTime is how long two managers that work at the same time, as no lease would let them, need to agree on the PIN of
	// a new link: each takes the device Secret of the other for a planted one. A person takes longer to enter it.
	agreementTime = 1500 * time.Millisecond
)

// history is what happens to one link, and the spec that its owner wants.
type history struct {
	*trial
	bob   *plextest.Account
	spec  v1alpha1.PlexLinkSpec
	moved bool
	// down means that the server's machine refuses connections. It keeps its port here, or another world would take it.
	down bool
	// kept means that Secrets of a link that is gone may stay: it was deleted with the policy Retain, or without our step.
	kept bool
	// fuse is how many calls from now the operator dies; 0: it does not.
	fuse atomic.Int64
}

func newHistory(t testing.TB) *history {
	h := &history{spec: v1alpha1.PlexLinkSpec{Server: v1alpha1.ServerSpec{Name: ourServer}}}
	w := newWorld(t)
	attic := w.sim.AddServer(plextest.Server{Name: otherServer, Owner: w.alice})
	attic.SetConnections(plextest.LocalConnection("http://192.168.1.50:32400"))
	h.bob = w.sim.AddAccount("bob")
	w.server.Update(func(s *plextest.Server) { s.SharedWith = []*plextest.Account{h.bob} })
	h.trial = newTrial(w, func(o *operator) {
		o.diesBefore = func(req *http.Request) bool {
			isDiscovery := !strings.Contains(req.URL.Path, "/namespaces/") && !strings.HasPrefix(req.URL.Path, "/api/v2/")
			return !isDiscovery && o.elected() && h.fuse.Load() > 0 && h.fuse.Add(-1) == 0
		}
	})
	h.names = append(h.names, attic.MachineIdentifier, "[attic]")
	h.person = nil
	h.network.Update(func() { h.network.Listeners["192.168.1.50:32400"] = attic.Addr })
	return h
}

// moves puts the server at one of two addresses.
func (h *history) moves(moved bool) {
	h.moved = moved
	address, former := "192.168.1.100:32400", "192.168.1.200:32400"
	if moved {
		address, former = former, address
	}
	h.network.Update(func() {
		delete(h.network.Listeners, former)
		h.network.Listeners[address] = h.server.Addr
		if h.down {
			delete(h.network.Listeners, address)
			h.network.Listeners[strings.Replace(address, "32400", "1", 1)] = h.server.Addr
		}
	})
	h.server.SetConnections(plextest.LocalConnection("http://" + address))
}

// kometa reads the link; nil: it does not exist.
func (h *history) kometa() *v1alpha1.PlexLink { return h.world.links()["kometa"] }

// apply creates the link, or makes its spec what its owner wants, as GitOps does.
func (h *history) apply() {
	h.Helper()
	link := h.kometa()
	if link == nil {
		h.create("kometa", func(l *v1alpha1.PlexLink) { l.Spec = *h.spec.DeepCopy() })
		return
	}
	h.patched(func(l *v1alpha1.PlexLink) { l.Spec = *h.spec.DeepCopy() })
}

// patched changes the link, if it exists.
func (h *history) patched(change func(*v1alpha1.PlexLink)) {
	h.Helper()
	if link := h.kometa(); link != nil {
		before := link.DeepCopy()
		change(link)
		h.must(admin.Patch(h.Context(), link, client.MergeFrom(before)))
	}
}

func (h *history) must(err error) {
	h.Helper()
	if client.IgnoreNotFound(err) != nil {
		h.Fatal(err)
	}
}

// enter lets an account enter the PIN that is shown, if an operator runs that can collect the token: a deletion polls the PIN
// for the last time, and cannot make it invalid.
func (h *history) enter(account *plextest.Account) {
	link := h.kometa()
	if link == nil || link.DeletionTimestamp != nil || link.Status.PIN == nil || h.entered[pinOf(link)] || !h.operator().running() || link.Spec.Suspend {
		return
	}
	shown := pinOf(link)
	if len(slices.DeleteFunc(slices.Clone(h.operators), func(o *operator) bool { return !o.running() })) > 1 {
		time.Sleep(agreementTime)
		if link = h.kometa(); link == nil || link.Status.PIN == nil || pinOf(link) != shown {
			return
		}
	}
	h.entered[shown] = true
	_ = h.sim.Link(link.Status.PIN.Code, account) // It may have expired.
}

// collected waits until no entered PIN is left. The next command would end it, and its token would be lost.
func (h *history) collected() {
	_ = waitFor(11*time.Second, func() error {
		if o := h.operator(); o.dead.Load() {
			o.kill()
			h.restart()
		}
		if slices.ContainsFunc(h.sim.PINs(), func(p plextest.PIN) bool {
			return !p.ClaimedAt.IsZero() && !p.Collected && h.clock.Now().Before(p.ExpiresAt)
		}) {
			return errNotYet
		}
		return nil
	})
}

// passes lets time pass.
func passes(d time.Duration) func(*history) {
	return func(h *history) {
		h.collected()
		h.advance(d)
	}
}

// heal ends every disturbance, and sets a spec that can be linked.
func (h *history) heal() {
	h.collected()
	h.fuse.Store(0)
	h.sim.ClearFaults()
	h.down = false
	h.moves(h.moved)
	h.removesForeign()
	h.spec.Suspend = false
	if s := h.spec.Server; s.Name != otherServer && s.Name != ourServer || len(s.Schemes) > 0 || s.CAProvider != nil {
		h.spec.Server = v1alpha1.ServerSpec{Name: ourServer}
	}
	if t := h.spec.Secret.Template; t != nil && t.Data["A"] == badTemplate["A"] {
		h.spec.Secret.Template = nil
	}
	h.oneManager()
	if !h.operator().running() {
		h.restart()
	}
	h.person = h.alice
	h.until("a healthy link", func() error {
		link := h.kometa()
		if link == nil || link.DeletionTimestamp == nil && !equality.Semantic.DeepEqual(link.Spec, h.spec) {
			h.apply()
			return errors.New("it was applied")
		}
		ready := meta.FindStatusCondition(link.Status.Conditions, v1alpha1.ConditionReady)
		stuck := ready != nil && ready.Reason == v1alpha1.ReasonPINExpired && link.Status.ObservedGeneration == link.Generation
		bobs := link.Status.Account != nil && link.Status.Account.Username == "bob"
		request := link.Annotations[v1alpha1.LinkRequestedAtAnnotation]
		asked := request != "" && request != link.Status.LastHandledLinkRequest
		if (stuck || bobs) && !asked && link.Status.PIN == nil {
			h.asks(v1alpha1.LinkRequestedAtAnnotation)
			return errors.New("it is asked for a new PIN")
		}
		return h.ready("kometa")()
	})
}

// outcome heals the world and returns its end, once it is as wanted or patience is over; nil accepts any end.
func (h *history) outcome(want []string) []string {
	h.heal()
	h.forgivesAbandonedTokens()
	h.clock.advance(70 * time.Minute)
	var last []string
	refreshAt := time.Now().Add(3 * time.Second)
	err := h.waitUntil(trialPatience/2, func() error {
		if time.Now().After(refreshAt) {
			refreshAt = time.Now().Add(10 * time.Second)
			h.clock.advance(70 * time.Minute)
		}
		if last = h.comparable(); want != nil && difference(want, last) != "" {
			return errNotYet
		}
		if err := errors.Join(h.ready("kometa")(), h.quiet()); err != nil {
			return err
		}
		if difference(last, h.comparable()) != "" {
			return errNotYet
		}
		return nil
	})
	if err != nil && want == nil {
		h.Fatal(err)
	}
	return last
}

// forgivesAbandonedTokens ignores tokens that the operator reported to be still valid: plex.tv was down for the five minutes in
// which it tries to sign out a deleted link.
func (h *history) forgivesAbandonedTokens() {
	if !slices.ContainsFunc(h.events(), func(e eventsv1.Event) bool { return e.Reason == "SignOutFailed" }) {
		return
	}
	stored := map[string]bool{}
	for _, secret := range h.world.secrets() {
		stored[string(secret.Data[keyToken])] = true
	}
	for _, token := range h.sim.ValidTokens() {
		if !stored[token] {
			h.ignoreToken(token, "the operator reported that it could not sign it out")
		}
	}
}

// editedKey is a key that a person has edited and that the operator has not put back.
var editedKey = regexp.MustCompile(` ?"\w+=edited"`)

// comparable returns the end without what may depend on the history. A key that is edited while the template drops it belongs to
// the person, like any other addition, and stays.
func (h *history) comparable() []string {
	var lines []string
	for _, line := range h.end() {
		if !h.kept || !strings.HasPrefix(line, "Secret ") || !strings.Contains(line, v1alpha1.UIDLabel+":of ]") {
			lines = append(lines, strings.Replace(editedKey.ReplaceAllString(line, ""), "data [ ", "data [", 1))
		}
	}
	return lines
}

// freshEnds holds the ends of links that were created with a spec, by spec and address.
var freshEnds sync.Map

// fresh returns the end of a link that is created with the spec in a healthy world.
func (h *history) fresh(t testing.TB) []string {
	text, err := json.Marshal(h.spec)
	if err != nil {
		t.Fatal(err)
	}
	key := fmt.Sprint(string(text), h.moved)
	if end, ok := freshEnds.Load(key); ok {
		return end.([]string)
	}
	f := newHistory(t)
	f.spec = h.spec
	f.moves(h.moved)
	end := f.outcome(nil)
	freshEnds.Store(key, end)
	return end
}

// rapidTB is a check of rapid as a world takes it.
type rapidTB struct {
	testing.TB // of the test that runs the checks
	check      *rapid.T
	played     *[]string
}

// tell prints a failure at once: rapid prints only the last one, after it has tried shorter histories for a while.
func (t rapidTB) tell(text string) { t.TB.Logf("history %q: %s", *t.played, text) }

func (t rapidTB) Helper()                         { t.check.Helper() }
func (t rapidTB) Cleanup(f func())                { t.check.Cleanup(f) }
func (t rapidTB) Context() context.Context        { return t.check.Context() }
func (t rapidTB) Error(args ...any)               { t.tell(fmt.Sprint(args...)); t.check.Error("see above") }
func (t rapidTB) Errorf(format string, a ...any)  { t.Error(fmt.Sprintf(format, a...)) }
func (t rapidTB) Fatal(args ...any)               { t.Error(args...); t.check.FailNow() }
func (t rapidTB) Fatalf(format string, a ...any)  { t.Fatal(fmt.Sprintf(format, a...)) }
func (t rapidTB) Failed() bool                    { return t.check.Failed() }
func (t rapidTB) Log(args ...any)                 { t.check.Log(args...) }
func (t rapidTB) Logf(format string, args ...any) { t.check.Logf(format, args...) }

// TestEndDoesNotDependOnTheHistory runs random commands on a link at random instants. Afterwards, in a healthy world, the end
// equals that of a new link with the same spec. A failure is printed with its seed, and replayed with -rapid.seed=SEED.
func TestEndDoesNotDependOnTheHistory(t *testing.T) {
	t.Parallel()
	groups := setChecks(t)
	names := slices.Sorted(maps.Keys(commands))
	var histories, played atomic.Int64
	began := time.Now()
	var all sync.WaitGroup
	for group := range groups {
		all.Go(func() {
			t.Run(fmt.Sprint("group ", group), func(t *testing.T) {
				rapid.Check(t, func(check *rapid.T) {
					tb := rapidTB{t, check, &[]string{}}
					h := newHistory(tb)
					h.apply()
					for i, name := range rapid.SliceOfN(rapid.SampledFrom(names), 1, 12).Draw(check, "commands") {
						if i == 0 && rapid.IntRange(0, 3).Draw(check, "linked first") > 0 {
							*tb.played = append(*tb.played, "linked first")
							h.person = h.alice
							h.until("linked", h.ready("kometa"))
							h.person = nil
						}
						pause := time.Duration(rapid.IntRange(0, 400).Draw(check, "pause")) * time.Millisecond
						*tb.played = append(*tb.played, name, pause.String())
						commands[name](h)
						time.Sleep(pause)
						played.Add(1)
					}
					got := h.outcome(h.fresh(tb))
					if d := difference(h.fresh(tb), got); d != "" {
						tb.Error("the end differs from that of a fresh link:" + d)
					}
					histories.Add(1)
				})
			})
		})
	}
	all.Wait()
	t.Logf("history: %d histories of %d commands, failed %t, %s", histories.Load(), played.Load(), t.Failed(),
		time.Since(began).Round(time.Second))
}

// setChecks divides -rapid.checks, by default 30, among groups that run at a time and returns how many those are.
func setChecks(t *testing.T) (groups int) {
	t.Helper()
	set := map[string]string{}
	flag.Visit(func(f *flag.Flag) { set[f.Name] = f.Value.String() })
	checks, groups := 30, max(1, *trialsAtOnce/2)
	if set["rapid.seed"] != "" { // The same seed in all groups would play the same histories.
		groups = 1
	}
	if text, ok := set["rapid.checks"]; ok {
		if _, err := fmt.Sscan(text, &checks); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range map[string]string{"rapid.checks": fmt.Sprint((checks + groups - 1) / groups), "rapid.nofailfile": "true"} {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	return groups
}

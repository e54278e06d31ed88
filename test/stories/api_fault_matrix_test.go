package stories

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// apiFault is a way in which a request to the API server fails. It returns an answer or an error; without either the request
// is carried out.
type apiFault struct {
	strike func(*http.Request) (*http.Response, error)
	// only are the methods that it happens to; nil: all.
	only []string
	// rare ones are tried by -exhaustive only.
	rare bool
}

func refuses(code int32, reason metav1.StatusReason, message string) func(*http.Request) (*http.Response, error) {
	return func(req *http.Request) (*http.Response, error) { return refusal(req, code, reason, message), nil }
}

// waits delays a request, and fails it if err is set.
func waits(d time.Duration, err error) func(*http.Request) (*http.Response, error) {
	return func(req *http.Request) (*http.Response, error) {
		select {
		case <-time.After(d):
			return nil, err
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
	}
}

// writes are the methods that admission sees.
var writes = []string{http.MethodPost, http.MethodPatch, http.MethodDelete}

var apiFaults = map[string]apiFault{
	"forbidden": {strike: refuses(403, metav1.StatusReasonForbidden, "the user has no right to do this")},
	"500":       {strike: refuses(500, metav1.StatusReasonInternalError, "etcdserver: leader changed")},
	"conflict":  {strike: refuses(409, metav1.StatusReasonConflict, "the object has been modified"), only: writes, rare: true},
	"time-out":  {strike: waits(4*time.Second, errors.New("request timed out")), rare: true},
	"slow":      {strike: waits(time.Second, nil), rare: true},
	"quota":     {strike: refuses(403, metav1.StatusReasonForbidden, "exceeded quota: none"), only: []string{http.MethodPost}, rare: true},
	"webhook down": {
		strike: refuses(500, metav1.StatusReasonInternalError, `failed calling webhook "example.com": connection refused`),
		only:   writes, rare: true,
	},
}

// apiCalls are the targets of faults, by method and the end of the path.
var apiCalls = []struct{ method, path string }{
	{http.MethodGet, "/secrets/"},
	{http.MethodPost, "/secrets"},
	{http.MethodPatch, v1alpha1.DeviceSecretSuffix},
	{http.MethodDelete, "/secrets/"},
	{http.MethodPatch, "/plexlinks/fresh"},
	{http.MethodPatch, "/status"},
}

// How long a fault lasts, apart from a time: it strikes one call, or it ends as soon as the statuses tell the truth about it.
const (
	once      time.Duration = -1
	untilTold time.Duration = 0
)

// TestAPIServerFaultMatrix applies each fault to each call for a while, during which a PIN is entered, a Secret is deleted, a
// PlexLink is deleted and one is created. Within 15 seconds statuses are true, and within 15 seconds after the end all is well.
func TestAPIServerFaultMatrix(t *testing.T) {
	t.Parallel()
	outages := map[time.Duration]string{untilTold: "until told", 17 * time.Second: "17s"}
	if *exhaustive {
		outages = map[time.Duration]string{once: "once", untilTold: "until told", 20 * time.Second: "20s", time.Minute: "1m"}
	}
	began := time.Now()
	slots := make(chan struct{}, 2**trialsAtOnce)
	var rows atomic.Int64
	var all sync.WaitGroup
	for name, fault := range apiFaults {
		for _, call := range apiCalls {
			for outage, duration := range outages {
				if fault.rare && !*exhaustive || fault.only != nil && !slices.Contains(fault.only, call.method) {
					continue
				}
				rows.Add(1)
				all.Go(func() {
					slots <- struct{}{}
					defer func() { <-slots }()
					t.Run(fmt.Sprintf("%s/%s …%s/%s", name, call.method, strings.ReplaceAll(call.path, "/", "|"), duration), func(t *testing.T) {
						r := &apiRow{fault: fault, method: call.method, path: call.path, outage: outage}
						r.run(newWorld(t))
					})
				})
			}
		}
	}
	all.Wait()
	t.Logf("API server faults: %d rows, failed %t, %s", rows.Load(), t.Failed(), time.Since(began).Round(time.Second))
}

// apiRow is one fault of one call.
type apiRow struct {
	*trial
	fault        apiFault
	method, path string
	outage       time.Duration
	lasts        atomic.Bool
	struck       atomic.Int64 // calls that it happened to
}

// configure applies the fault to the operator while it lasts.
func (r *apiRow) configure(o *operator) {
	answers := sync.Map{}
	o.fail = func(req *http.Request) error {
		isStruck := strings.HasSuffix(req.URL.Path, r.path) || strings.HasSuffix(r.path, "/") && strings.Contains(req.URL.Path, r.path)
		if !r.lasts.Load() || req.Method != r.method || !isStruck {
			return nil
		}
		if n := r.struck.Add(1); n > 1 && r.outage == once {
			return nil
		}
		resp, err := r.fault.strike(req)
		if resp != nil {
			answers.Store(req, resp)
		}
		return err
	}
	o.answer = func(req *http.Request) *http.Response {
		if resp, ok := answers.LoadAndDelete(req); ok {
			return resp.(*http.Response)
		}
		return nil
	}
}

func (r *apiRow) run(w *world) {
	r.trial = newTrial(w, r.configure)
	for _, name := range []string{"linked", "leaving"} {
		r.linked(name)
	}
	r.person = nil
	r.create("waiting")
	code := r.showsPIN("waiting")
	r.ignoreToken(r.accountToken("leaving"), "a Secret that cannot be deleted stays, with a token that is signed out")
	r.leaves("leaving", "leaving"+v1alpha1.DeviceSecretSuffix)

	r.lasts.Store(true)
	began := time.Now()
	r.create("fresh")
	r.deleted(r.secret("linked"))
	r.deleted(r.link("leaving"))
	r.eventually("two polls of the PIN", func() error { // An operator that is cut off goes on polling.
		if polls := r.polled("waiting"); len(polls) < 2 || time.Since(began) < time.Second {
			return errNotYet
		}
		return nil
	})
	if err := r.sim.Link(code, r.alice); err != nil {
		r.Fatal(err)
	}
	if err := waitFor(time.Until(began.Add(15*time.Second)), r.told); err != nil {
		r.Errorf("15s after the start of the fault: %v", err)
	}
	time.Sleep(time.Until(began.Add(r.outage)))          // The fault lasts this long.
	if err := waitFor(time.Second, r.told); err != nil { // A Secret is written shortly before its link is Ready.
		r.Errorf("at the end of the fault: %v", err)
	}
	r.lasts.Store(false)
	if err := waitFor(15*time.Second, r.recovered); err != nil {
		r.Errorf("15s after the end of the fault: %v", err)
	}
	minted := map[string]int{}
	for _, pin := range r.sim.PINs() {
		name, _, _ := strings.Cut(pin.DeviceName, " ")
		if minted[name]++; minted[name] > 1 {
			r.Errorf("got %d PINs for %s, want one", minted[name], name)
		}
		if name == "waiting" && (!pin.Collected || pin.Token != r.accountToken("waiting")) {
			r.Error("the token of the PIN that was entered is lost")
		}
	}
	checkPolls(r.world, "waiting")
}

// told returns nil when the fault has struck, the token of the PIN that was entered has left plex.tv, and a link is Ready
// exactly where its Secret opens the server. It expects no status where none can be written.
func (r *apiRow) told() error {
	if r.struck.Load() == 0 {
		return errors.New("got no call that fails, want one")
	}
	if !slices.ContainsFunc(r.sim.PINs(), func(p plextest.PIN) bool { return p.Collected && strings.HasPrefix(p.DeviceName, "waiting ") }) {
		return errors.New("waiting: its token was not collected")
	}
	if r.path == "/status" && r.outage != once {
		return nil
	}
	for _, name := range []string{"linked", "waiting", "fresh"} {
		link, secret := r.link(name), r.secret(name)
		ready := meta.IsStatusConditionTrue(link.Status.Conditions, v1alpha1.ConditionReady)
		if link.Status.ObservedGeneration != link.Generation {
			return fmt.Errorf("%s: got no status for its spec, want one", name)
		}
		if isGood := secret != nil && string(secret.Data["PLEX_URL"]) == oldURL; ready != isGood {
			return fmt.Errorf("%s: got Ready %t with a good Secret %t: %q", name, ready, isGood, message(link))
		}
	}
	return nil
}

// recovered returns nil when all is well.
func (r *apiRow) recovered() error {
	for _, name := range []string{"linked", "waiting"} {
		if err := errors.Join(r.ready(name)(), r.hasURL(name, oldURL)()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if link := r.link("fresh"); link.Status.PIN == nil {
		return fmt.Errorf("fresh: got no PIN, but %q", message(link))
	}
	return r.gone("leaving")()
}

package stories

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// isPoll reports whether a request polls a PIN.
func isPoll(req *http.Request) bool {
	return req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/api/v2/pins/")
}

// Fault A14: a PIN is entered just before the deletion, or while the operator is down.
func TestTokenOfAPINEnteredBeforeTheDeletionIsSignedOut(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		down   bool // whether the operator is down from before the PIN is entered until after the deletion
		faults int  // polls that fail after the deletion
	}{
		"operator up":                   {},
		"operator down":                 {down: true},
		"operator up, two polls fail":   {faults: 2},
		"operator down, two polls fail": {down: true, faults: 2},
		"operator up, one poll fails":   {faults: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var blind atomic.Bool // Fails polls between the entry of the PIN and the deletion.
			o := w.startOperator(func(o *operator) {
				o.fail = func(req *http.Request) error {
					if blind.Load() && isPoll(req) {
						return errors.New("connection reset by peer")
					}
					return nil
				}
			})
			w.create("kometa")
			code := w.awaitsPIN("kometa").Status.PIN.Code
			blind.Store(true)
			if row.down {
				o.kill()
			}
			if err := w.sim.Link(code, w.alice); err != nil {
				t.Fatal(err)
			}
			if row.faults > 0 {
				w.sim.Fault(plextest.Fault{Endpoint: plextest.CheckPIN, Status: 500, Times: row.faults})
			}
			w.delete("kometa")
			if row.down {
				w.startOperator()
			}
			blind.Store(false)
			w.isGone("kometa")
			if opensPlexTV(w, w.sim.PINs()[0].Token) {
				t.Error("the token of the PIN is still valid, want it signed out")
			}
			if n := w.sim.Count(plextest.SignOut); n != 1 {
				t.Errorf("got %d sign-outs, want one", n)
			}
			if w.secret("kometa-plexlink-device") != nil {
				t.Error("the device Secret is left, want it deleted")
			}
			w.hasEvent("SignedOut", "")
		})
	}
}

// Fault A14, with the policy Retain: the token is kept for the next PlexLink with that name.
func TestTokenOfAPINEnteredBeforeTheDeletionIsRetained(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.startOperator()
	w.create("kometa", func(l *v1alpha1.PlexLink) { l.Spec.DeletionPolicy = v1alpha1.DeletionPolicyRetain })
	code := w.awaitsPIN("kometa").Status.PIN.Code
	o.kill()
	if err := w.sim.Link(code, w.alice); err != nil {
		t.Fatal(err)
	}
	w.delete("kometa")
	w.startOperator()
	w.isGone("kometa")
	if got, want := w.accountToken("kometa"), w.sim.PINs()[0].Token; got != want {
		t.Error("the token of the PIN is not in the device Secret, want it kept")
	}
	w.create("kometa")
	w.reaches("kometa", v1alpha1.ReasonLinked)
	if n := len(w.sim.PINs()); n != 1 {
		t.Errorf("got %d PINs, want the first only", n)
	}
}

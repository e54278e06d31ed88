package stories

import (
	"errors"
	"net/http"
	"sync/atomic"
	"testing"

	"plexlink.dev/operator/internal/plex/plextest"
)

// Fault A16: a namespace that is being deleted loses the device Secret before the link. A state that could not be stored must
// not replace the one in memory.
func TestLinkIsSignedOutAlthoughItsDeviceSecretWentFirst(t *testing.T) {
	t.Parallel()
	for name, failures := range map[string]int64{"one failure": 1, "all writes fail": 1 << 30} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var armed atomic.Bool
			var failed atomic.Int64
			w.startOperator(func(o *operator) {
				o.fail = func(r *http.Request) error {
					if armed.Load() && isWrite(http.MethodPost, "/secrets")(r) && failed.Add(1) <= failures {
						return errors.New("connection refused")
					}
					return nil
				}
			})
			w.linked("kometa")
			w.settled("kometa")
			token := w.accountToken("kometa")
			armed.Store(true)
			if err := admin.Delete(t.Context(), w.secret("kometa-plexlink-device")); err != nil {
				t.Fatal(err)
			}
			w.eventually("a failure", func() error {
				if failed.Load() == 0 {
					return errNotYet
				}
				return nil
			})
			w.delete("kometa")
			w.isGone("kometa")
			if opensPlexTV(w, token) {
				t.Error("the token is still valid, want it signed out")
			}
			if got := w.sim.Count(plextest.SignOut); got != 1 {
				t.Errorf("got %d sign-outs, want one", got)
			}
			w.hasEvent("SignedOut", "")
			w.hasExactly()
		})
	}
}

// Fault A16: if neither memory nor the device Secret has the token, an event says what to do.
func TestTokenThatWasLostBeforeADeletionIsReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	w.ignoreToken(w.accountToken("kometa"), "it is lost with the device Secret")
	first.stop()
	if err := admin.Delete(t.Context(), w.secret("kometa-plexlink-device")); err != nil {
		t.Fatal(err)
	}
	w.delete("kometa")
	w.startOperator()
	w.isGone("kometa")
	w.hasEvent("SignOutFailed", "Authorized Devices")
	w.hasExactly()
	if got := len(w.sim.PINs()); got != 1 || w.sim.Count(plextest.SignOut) != 0 {
		t.Errorf("got %d PINs and %d sign-outs, want the first and none", got, w.sim.Count(plextest.SignOut))
	}
}

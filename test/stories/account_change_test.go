package stories

import (
	"net/http"
	"strings"
	"testing"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// Fault A15: a link is linked again by another account.
func TestTokenOfThePreviousAccountIsSignedOut(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		fault  plextest.Fault
		killed bool // just before the sign-out
	}{
		"at once":                         {},
		"after a failed sign-out":         {fault: plextest.Fault{Endpoint: plextest.SignOut, Status: 503, Times: 2}},
		"by the process after a kill":     {killed: true},
		"although the account is unknown": {fault: plextest.Fault{Endpoint: plextest.User, Status: 503, Times: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			bob := w.sim.AddAccount("bob")
			w.server.Update(func(s *plextest.Server) { s.SharedWith = []*plextest.Account{bob} })
			o := w.startOperator(func(o *operator) {
				o.diesBefore = func(req *http.Request) bool { return row.killed && strings.HasSuffix(req.URL.Path, "/users/signout") }
			})
			w.linked("kometa")
			w.settled("kometa")
			old := w.accountToken("kometa")
			w.request("kometa", v1alpha1.LinkRequestedAtAnnotation)
			if row.fault.Endpoint != "" {
				w.sim.Fault(row.fault)
			}
			w.enterPINAs("kometa", bob)
			if row.killed {
				<-o.died
				o.kill()
				w.startOperator()
			}
			w.eventually("bob's token in the Secret", func() error {
				if token := w.accountToken("kometa"); token == old || token == "" {
					return errNotYet
				}
				return nil
			})
			if row.fault.Endpoint == plextest.User { // The account is requested with the next refresh.
				w.settled("kometa")
				w.refresh("kometa")
			}
			w.eventually("alice's token to be revoked", func() error {
				if opensPlexTV(w, old) {
					return errNotYet
				}
				return nil
			})
			link := w.reaches("kometa", v1alpha1.ReasonLinked)
			if link.Status.Account == nil || link.Status.Account.Username != "bob" {
				t.Errorf("got the account %+v, want bob", link.Status.Account)
			}
			checkSecretOpensServer(t, w.secret("kometa"))
		})
	}
}

// Fault A15: the newer token of the same account has invalidated the older one, so there is nothing to sign out. A sign-out
// would invalidate the new one.
func TestNothingIsSignedOutWhenTheSameAccountLinksAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	old := w.accountToken("kometa")
	w.request("kometa", v1alpha1.LinkRequestedAtAnnotation)
	w.enterPINAs("kometa", w.alice)
	w.eventually("the new token in use", func() error {
		if link := w.link("kometa"); w.accountToken("kometa") == old || link.Status.PIN != nil || link.Status.Account == nil {
			return errNotYet
		}
		return nil
	})
	w.settled("kometa")
	w.linked("neighbour") // Gives the operator time to do something wrong.
	if n := w.sim.Count(plextest.SignOut); n != 0 {
		t.Errorf("got %d sign-outs, want none", n)
	}
	checkSecretOpensServer(t, w.secret("kometa"))
}

package stories

import (
	"strings"
	"testing"

	"plexlink.dev/operator/api/v1alpha1"
)

func TestSecondRequestForAPINKeepsTheOpenOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	for range 2 {
		w.request("kometa", v1alpha1.LinkRequestedAtAnnotation)
		w.eventually("the request to be handled", func() error {
			link := w.link("kometa")
			if link.Status.PIN == nil || link.Status.LastHandledLinkRequest != link.Annotations[v1alpha1.LinkRequestedAtAnnotation] {
				return errNotYet
			}
			return nil
		})
	}
	if err := w.sim.Link(w.link("kometa").Status.PIN.Code, w.alice); err != nil {
		t.Fatal(err)
	}
	w.eventually("the PIN to leave the status", func() error {
		if w.link("kometa").Status.PIN != nil {
			return errNotYet
		}
		return nil
	})
	w.reaches("kometa", v1alpha1.ReasonLinked)
	if n := len(w.sim.PINs()); n != 2 {
		t.Errorf("got %d PINs, want the first and one for both requests", n)
	}
}

func TestTokenThatIsRevokedWhileAPINIsOpenLeavesThePINOpen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.request("kometa", v1alpha1.LinkRequestedAtAnnotation)
	code := w.showsPIN("kometa")
	w.sim.RevokeTokens(w.alice)
	w.request("kometa", v1alpha1.RefreshRequestedAtAnnotation)
	w.reaches("kometa", v1alpha1.ReasonTokenRevoked)
	w.eventually("the revocation to be stored", func() error {
		if state := w.secret("kometa" + v1alpha1.DeviceSecretSuffix).Data[keyState]; !strings.Contains(string(state), `"revoked":true`) {
			return errNotYet
		}
		return nil
	})
	if got := w.showsPIN("kometa"); got != code {
		t.Errorf("got the PIN %s, want %s, which is open", got, code)
	}
	if err := w.sim.Link(code, w.alice); err != nil {
		t.Fatal(err)
	}
	w.reaches("kometa", v1alpha1.ReasonLinked)
}

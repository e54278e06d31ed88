package stories

import (
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

package stories

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// annotate sets an annotation of a PlexLink.
func (w *world) annotate(name, annotation, value string) {
	w.Helper()
	w.change(name, func(l *v1alpha1.PlexLink) { metav1.SetMetaDataAnnotation(&l.ObjectMeta, annotation, value) })
}

// handlesRefresh waits until the status shows that a refresh request was handled.
func (w *world) handlesRefresh(name, value string) {
	w.Helper()
	w.eventually("the refresh "+value, func() error {
		if got := w.link(name).Status.LastHandledRefreshRequest; got != value {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
}

// plexRequestsOf returns a link's requests to plex.tv.
func (w *world) plexRequestsOf(name string) []plextest.Endpoint {
	var endpoints []plextest.Endpoint
	for _, r := range w.plexRequests() {
		if r.DeviceName == name+" ("+w.namespace+")" {
			endpoints = append(endpoints, r.Endpoint)
		}
	}
	return endpoints
}

func TestRefreshRequestIsHandledWithinTwoSecondsWithOneRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	before := w.secret("kometa").ResourceVersion
	for _, value := range []string{"first", "second"} {
		w.sim.ResetRequests()
		start := time.Now()
		w.annotate("kometa", v1alpha1.RefreshRequestedAtAnnotation, value)
		w.handlesRefresh("kometa", value)
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("the request was handled after %s, want at most 2s", took)
		}
		w.poke()
		w.linked("neighbour-" + value) // Gives the operator time to send more requests.
		if got := w.plexRequestsOf("kometa"); !slices.Equal(got, []plextest.Endpoint{plextest.Resources}) {
			t.Errorf("got the requests %q to plex.tv, want one for the resources", got)
		}
		if n := w.sim.Count(plextest.Identity); n == 0 {
			t.Error("got no check of the address, want one")
		}
	}
	if got := w.secret("kometa").ResourceVersion; got != before {
		t.Error("the Secret changed, want it unchanged")
	}
	if got := w.link("kometa").Status.LastHandledLinkRequest; got != "" {
		t.Errorf("got the link request %q handled, want none", got)
	}
}

func TestRefreshRequestFindsWhatIsWrongAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	w.sim.Fault(plextest.Fault{Endpoint: plextest.Resources, Status: 503})
	w.annotate("kometa", v1alpha1.RefreshRequestedAtAnnotation, "plex.tv is down")
	w.handlesRefresh("kometa", "plex.tv is down")
	if got := message(w.reaches("kometa", v1alpha1.ReasonLinked)); !strings.Contains(got, "the last check failed") {
		t.Errorf("got the message %q, want the failed check in it", got)
	}
	w.annotate("kometa", v1alpha1.RefreshRequestedAtAnnotation, "plex.tv is up again") // The backoff does not delay it.
	w.eventuallyWithin(5*time.Second, "a check that succeeds", func() error {
		if link := w.link("kometa"); link.Status.LastHandledRefreshRequest != "plex.tv is up again" || strings.Contains(message(link), "failed") {
			return errors.New(message(link))
		}
		return nil
	})
	w.ignoreToken(w.accountToken("kometa"), "alice revokes it, and the new PIN is not entered")
	w.sim.RevokeTokens(w.alice)
	w.annotate("kometa", v1alpha1.RefreshRequestedAtAnnotation, "revoked")
	w.reaches("kometa", v1alpha1.ReasonTokenRevoked)
	w.handlesRefresh("kometa", "revoked")
}

// Fault A17: a request that was set while there was another obstacle was lost.
func TestRequestIsHandledWhenTheObstacleIsGone(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		block, clear func(*v1alpha1.PlexLink)
		reason       string
	}{
		"suspended": {
			func(l *v1alpha1.PlexLink) { l.Spec.Suspend = true },
			func(l *v1alpha1.PlexLink) { l.Spec.Suspend = false }, v1alpha1.ReasonSuspended,
		},
		"invalid template": {
			func(l *v1alpha1.PlexLink) {
				l.Spec.Secret.Template = &v1alpha1.SecretTemplate{Data: map[string]v1alpha1.TemplateText{"URL": "{{ .Uri }}"}}
			},
			func(l *v1alpha1.PlexLink) { l.Spec.Secret.Template = nil }, v1alpha1.ReasonInvalidTemplate,
		},
		"conflict": {
			func(l *v1alpha1.PlexLink) { l.Spec.Secret.Name = "foreign" },
			func(l *v1alpha1.PlexLink) { l.Spec.Secret.Name = "" }, v1alpha1.ReasonSecretConflict,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if err := admin.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "foreign", Namespace: w.namespace}}); err != nil {
				t.Fatal(err)
			}
			w.startOperator()
			for _, link := range []string{"refreshed", "relinked"} {
				w.linked(link)
				w.settled(link)
				w.change(link, row.block)
				w.reaches(link, row.reason)
			}
			w.sim.ResetRequests()
			w.annotate("refreshed", v1alpha1.RefreshRequestedAtAnnotation, "now")
			w.annotate("relinked", v1alpha1.LinkRequestedAtAnnotation, "now")
			pins := len(w.sim.PINs())
			w.poke()
			w.linked("neighbour") // Gives the operator time to act too soon.
			if link := w.link("relinked"); link.Status.LastHandledLinkRequest != "" || link.Status.PIN != nil || len(w.sim.PINs()) != pins+1 {
				t.Errorf("got %q handled with %d PINs, want nothing done yet", link.Status.LastHandledLinkRequest, len(w.sim.PINs())-pins-1)
			}
			w.change("refreshed", row.clear)
			w.change("relinked", row.clear)
			w.handlesRefresh("refreshed", "now")
			if got := w.plexRequestsOf("refreshed"); !slices.Contains(got, plextest.Resources) {
				t.Errorf("got the requests %q for a refresh reported as handled, want one for the resources", got)
			}
			w.showsPIN("relinked")
			if got := w.link("relinked").Status.LastHandledLinkRequest; got != "now" {
				t.Errorf("got the request %q handled, want %q", got, "now")
			}
			w.enterPINAs("relinked", w.alice)
			for _, link := range []string{"refreshed", "relinked"} {
				w.reaches(link, v1alpha1.ReasonLinked)
			}
			w.eventually("the PIN to leave the status", func() error {
				if w.link("relinked").Status.PIN != nil {
					return errNotYet
				}
				return nil
			})
		})
	}
}

func TestWorkingLinkIsMaintainedWhileItWaitsForANewPIN(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator(withQPS(0.5, 20)) // one open PIN
	w.linked("kometa")
	w.settled("kometa")
	w.create("other")
	w.showsPIN("other")
	w.request("kometa", v1alpha1.LinkRequestedAtAnnotation)
	w.eventually("a place in the queue", func() error {
		if w.link("kometa").Status.QueuedTime == nil {
			return errNotYet
		}
		return nil
	})
	if err := admin.Delete(t.Context(), w.secret("kometa")); err != nil {
		t.Fatal(err)
	}
	w.eventually("the repair", func() error {
		if w.secret("kometa") == nil {
			return errNotYet
		}
		return nil
	})
	w.annotate("kometa", v1alpha1.RefreshRequestedAtAnnotation, "now")
	w.handlesRefresh("kometa", "now")
	w.enterPINAs("other", w.alice)
	w.reaches("other", v1alpha1.ReasonLinked)
	w.enterPINAs("kometa", w.alice)
	w.eventually("the PIN to leave the status", func() error {
		if w.link("kometa").Status.PIN != nil {
			return errNotYet
		}
		return nil
	})
}

func TestRequestOf256CharactersIsHandled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	value := strings.Repeat("ü", 256)
	w.annotate("kometa", v1alpha1.RefreshRequestedAtAnnotation, value)
	w.handlesRefresh("kometa", value)
}

// Fault A17: a value of 200 KiB made the state too large to store, so PINs were minted forever.
func TestRequestThatIsTooLongIsIgnoredWithAWarning(t *testing.T) {
	t.Parallel()
	for name, length := range map[string]int{"257 characters": 257, "200 KiB": 200 << 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.startOperator()
			long := strings.Repeat("x", length)
			w.create("kometa", func(l *v1alpha1.PlexLink) {
				l.Annotations = map[string]string{v1alpha1.LinkRequestedAtAnnotation: long}
				if length == 257 {
					l.Annotations[v1alpha1.RefreshRequestedAtAnnotation] = long
				}
			})
			ignored := v1alpha1.LinkRequestedAtAnnotation
			if length == 257 {
				ignored += " and " + v1alpha1.RefreshRequestedAtAnnotation
			}
			w.hasEvent("RequestIgnored", "Ignored "+ignored+": a request may have at most 256 characters; set a shorter value")
			w.showsPIN("kometa")
			polls := w.sim.Count(plextest.CheckPIN)
			w.eventually("three polls", func() error {
				if w.sim.Count(plextest.CheckPIN) < polls+3 {
					return errNotYet
				}
				return nil
			})
			w.enterPIN("kometa")
			w.reaches("kometa", v1alpha1.ReasonLinked)
			w.settled("kometa")
			w.annotate("kometa", v1alpha1.LinkRequestedAtAnnotation, long+"y")
			w.poke()
			w.linked("neighbour") // Gives the operator time to act on it.
			link := w.link("kometa")
			if link.Status.LastHandledLinkRequest+link.Status.LastHandledRefreshRequest != "" || !meta.IsStatusConditionTrue(link.Status.Conditions, v1alpha1.ConditionReady) {
				t.Errorf("got the status %+v, want nothing handled, and Ready", link.Status)
			}
			if n := len(w.sim.PINs()); n != 2 {
				t.Errorf("got %d PINs, want one for each link", n)
			}
			if state := w.secret("kometa-plexlink-device").Data[keyState]; bytes.Contains(state, []byte("xxxx")) {
				t.Error("the value was stored, want it ignored")
			}
			// One for the first values and one for the later one.
			if got := w.eventCount("RequestIgnored"); got > 2 {
				t.Errorf("got %d events, want at most 2", got)
			}
		})
	}
}

// eventCount returns how often an event with the reason was recorded.
func (w *world) eventCount(reason string) int {
	w.Helper()
	count := 0
	for _, event := range w.events() {
		if event.Reason == reason {
			count++
			if event.Series != nil {
				count += int(event.Series.Count) - 1
			}
		}
	}
	return count
}

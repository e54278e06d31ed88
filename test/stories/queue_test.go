package stories

import (
	"flag"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

var queuedLinks = flag.Int("queued-links", 100, "number of PlexLinks waiting for a PIN in the queue tests")

// openPINs is the number of PINs that may be open at the default rate.
const openPINs = 10

// crowd creates enough PlexLinks that queuedLinks of them have to wait for a PIN, and waits until they do.
func (w *world) crowd(o *operator) {
	w.Helper()
	for i := range *queuedLinks + openPINs {
		w.create(fmt.Sprintf("link-%04d", i))
	}
	w.eventuallyWithin(time.Minute+time.Duration(*queuedLinks)*100*time.Millisecond, "the queue", func() error {
		waiting, err := o.gauge("plexlink_pin_queue_length")
		if pins := len(w.sim.PINs()); err == nil && (int(waiting) != *queuedLinks || pins != openPINs) {
			err = fmt.Errorf("got %v links in the queue and %d PINs, want %d and %d", waiting, pins, *queuedLinks, openPINs)
		}
		return err
	})
	for i := range *queuedLinks + openPINs {
		w.eventually("a status", func() error {
			if link := w.link(fmt.Sprintf("link-%04d", i)); link.Status.ObservedGeneration != link.Generation {
				return errNotYet
			}
			return nil
		})
	}
}

// polls waits for a number of further polls of PINs.
func (w *world) polls(n int) {
	w.Helper()
	before := w.sim.Count(plextest.CheckPIN)
	w.eventually(fmt.Sprint(n, " polls"), func() error {
		if got := w.sim.Count(plextest.CheckPIN) - before; got < n {
			return fmt.Errorf("got %d", got)
		}
		return nil
	})
}

// Fault B6: a link whose request for a PIN was refused kept its place in the queue, so ten of them blocked all others.
func TestRefusedPINsGiveBackTheirPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.startOperator(func(o *operator) {
		o.answer = func(r *http.Request) *http.Response {
			if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/pins") || r.Header.Get("X-Plex-Product") != "Refused" {
				return nil
			}
			resp := refusal(r, http.StatusBadRequest, "", "")
			resp.Body = http.NoBody
			return resp
		}
	})
	for i := range openPINs {
		w.create(fmt.Sprintf("refused-%d", i), func(l *v1alpha1.PlexLink) { l.Spec.Device.Product = "Refused" })
	}
	for i := range openPINs {
		w.reaches(fmt.Sprintf("refused-%d", i), v1alpha1.ReasonPlexUnavailable)
	}
	w.create("kometa")
	w.enterPIN("kometa")
	w.reaches("kometa", v1alpha1.ReasonLinked)
	if refused := o.count(http.MethodPost, "/pins"); refused < openPINs+1 {
		t.Errorf("got %d requests for a PIN, want at least one from each link", refused)
	}
	if pins := len(w.sim.PINs()); pins != 1 {
		t.Errorf("got %d PINs, want one", pins)
	}
}

// Fault B6: all namespaces shared one queue.
func TestCrowdDelaysAnotherNamespaceByOneTurn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: w.namespace}}
	if err := admin.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	other := *w
	other.namespace = namespace.Name
	o := w.startOperator(func(o *operator) { o.namespaces = []string{other.namespace} })
	w.crowd(o)

	other.create("kometa")
	other.reaches("kometa", v1alpha1.ReasonQueued)
	if err := w.sim.Link(w.sim.PINs()[0].Code, w.alice); err != nil { // Frees one place.
		t.Fatal(err)
	}
	other.awaitsPIN("kometa")
	if pins := w.sim.PINs(); len(pins) != openPINs+1 {
		t.Errorf("got %d PINs before that of the other namespace, want %d", len(pins)-1, openPINs)
	}
	other.delete("kometa") // The checks at the end cover one namespace only.
	other.isGone("kometa")
}

var crowdName = regexp.MustCompile(`link-\d{4}`)

// Fault B7: 100 queued links cost 35 requests per second, and each admitted PIN rewrote the status of all of them.
func TestQueuedLinksCostTheAPIServerNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.startOperator()
	w.crowd(o)
	touched := func() map[string]string {
		queued := map[string]string{}
		for _, request := range o.requests() {
			queued[crowdName.FindString(request)] = request
		}
		for _, pin := range w.sim.PINs() {
			delete(queued, crowdName.FindString(pin.DeviceName))
		}
		delete(queued, "")
		return queued
	}
	o.forgetRequests()
	w.poke() // Even if something triggers a reconcile.
	w.polls(2 * openPINs)
	if got := touched(); len(got) > 0 {
		t.Errorf("got requests about %d queued links, want none: %q", len(got), got)
	}

	if err := w.sim.Link(w.sim.PINs()[0].Code, w.alice); err != nil {
		t.Fatal(err)
	}
	w.reaches(crowdName.FindString(w.sim.PINs()[0].DeviceName), v1alpha1.ReasonLinked)
	w.eventually("the next PIN", func() error {
		if len(w.sim.PINs()) != openPINs+1 {
			return errNotYet
		}
		return nil
	})
	w.polls(openPINs)
	if got := touched(); len(got) > 0 {
		t.Errorf("after a PIN was admitted: got requests about %d links still in the queue, want none: %q", len(got), got)
	}
}

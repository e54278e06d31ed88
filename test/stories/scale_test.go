package stories

import (
	"flag"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
)

var scaleLinks = flag.Int("scale-links", 20, "number of linked PlexLinks in the restart test")

func restartAsksPlexForNothingThatWasNotDueAndRepairsWithinASecond(t *testing.T) {
	w := newWorld(t)
	began := time.Now()
	w.linkAtOnce(*scaleLinks)
	linkedIn := time.Since(began)

	down, up := fmt.Sprintf("link-%04d", *scaleLinks/2), fmt.Sprintf("link-%04d", *scaleLinks/3)
	remove := func(name string) {
		t.Helper()
		if err := admin.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace}}); err != nil {
			t.Fatal(err)
		}
	}
	repaired := func(name string) {
		t.Helper()
		w.eventually("the repair of "+name, func() error {
			if w.secret(name) == nil {
				return errNotYet
			}
			return nil
		})
	}
	remove(down)
	w.sim.ResetRequests()
	second := w.startOperator()
	// It is elected when it starts to work. Its caches are filled by then, while it waits to be elected.
	w.eventually("leadership", func() error {
		if !second.elected() {
			return errNotYet
		}
		return nil
	})
	leads := time.Now()
	remove(up)
	repaired(up)
	upAfter := time.Since(leads)
	repaired(down)
	downAfter := time.Since(leads)
	w.eventually("a reconcile of every link", func() error {
		seen, err := second.gauge("plexlink_remembered_links")
		if err == nil && int(seen) < *scaleLinks {
			err = errNotYet
		}
		return err
	})
	t.Logf("%d links, linked in %s; after leadership: the Secret deleted then was repaired after %s, the one deleted before after %s, all links were reconciled after %s",
		*scaleLinks, linkedIn.Round(time.Second), round(upAfter), round(downAfter), round(time.Since(leads)))
	if requests := w.plexRequests(); len(requests) > 0 {
		t.Errorf("got %d requests that were not due after the restart, the first to %s, want none", len(requests), requests[0].Endpoint)
	}
	for what, took := range map[string]time.Duration{"before leadership": downAfter, "after it": upAfter} {
		if took > time.Second+loadSlack {
			t.Errorf("a Secret deleted %s was repaired after %s, want at most a second", what, took)
		}
	}
}

// linkAtOnce links PlexLinks link-0000, link-0001 and so on, with an operator that is killed afterwards: with the product's
// budget that would take minutes.
func (w *world) linkAtOnce(n int, change ...func(*v1alpha1.PlexLink)) {
	w.Helper()
	o := w.startOperator(withQPS(1000, 1000))
	watcher := watchLinks(w)
	entered, ready := map[string]bool{}, map[string]bool{}
	deadline := time.After(time.Minute + time.Duration(n)*300*time.Millisecond)
	created := 0
	for len(ready) < n {
		// Few at a time: an entered PIN lives for ten seconds, however busy the machine is.
		for ; created < n && created < len(ready)+30; created++ {
			w.create(fmt.Sprintf("link-%04d", created), change...)
		}
		select {
		case <-deadline:
			w.Fatalf("only %d of %d links are ready", len(ready), n)
		case event := <-watcher.ResultChan():
			link, ok := event.Object.(*v1alpha1.PlexLink)
			if !ok {
				w.Fatalf("the watch ended: %v", event.Object)
			}
			if pin := link.Status.PIN; pin != nil && !entered[pinOf(link)] {
				entered[pinOf(link)] = true
				if err := w.sim.Link(pin.Code, w.alice); err != nil {
					w.Error(err)
				}
			}
			if meta.IsStatusConditionTrue(link.Status.Conditions, v1alpha1.ConditionReady) {
				ready[link.Name] = true
			}
		}
	}
	w.eventually("the server token of every link to be stored", func() error {
		for _, secret := range w.secrets() {
			if secret.Type == v1alpha1.DeviceSecretType && len(secret.Data[keyServerToken]) == 0 {
				return fmt.Errorf("%s has none", secret.Name)
			}
		}
		return nil
	})
	o.kill()
}

// watchLinks watches the world's PlexLinks from now on.
func watchLinks(w *world) watch.Interface {
	w.Helper()
	watcher, err := admin.Watch(w.Context(), &v1alpha1.PlexLinkList{}, client.InNamespace(w.namespace))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(watcher.Stop)
	return watcher
}

package controller

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"plexlink.dev/operator/api/v1alpha1"
)

// After a start all links are queued at handler.LowPriority. 10,000 links without a token got no PIN: those that waited for
// the first reconcile of all others were requeued every second, before the others.
func TestLinksComeBackByWhatTheyWaitFor(t *testing.T) {
	t.Parallel()
	link := &v1alpha1.PlexLink{ObjectMeta: metav1.ObjectMeta{Namespace: "media", Name: "x"}}
	for name, row := range map[string]struct {
		unseen bool
		change func(*scope)
		want   func(priority int) bool
	}{
		"others were not looked at yet": {true, func(*scope) {}, func(p int) bool { return p < handler.LowPriority }},
		"a healthy link":                {false, func(s *scope) { s.secretSynced = true }, func(p int) bool { return p == handler.LowPriority }},
		"a link that a person waits for": {false, func(*scope) {}, func(p int) bool {
			return p > handler.LowPriority && p < pollPriority
		}},
		"an open PIN, whatever else": {true, func(s *scope) { s.state.PINID = "1" }, func(p int) bool { return p == pollPriority }},
		"a state that is not stored": {true, func(s *scope) { s.memory.unsaved = true }, func(p int) bool { return p == pollPriority }},
	} {
		r, s := &Reconciler{memory: newMemory()}, &scope{link: link, memory: &entry{}}
		if row.unseen {
			r.memory.start([]v1alpha1.PlexLink{{ObjectMeta: metav1.ObjectMeta{Namespace: "media", Name: "y"}}})
		}
		row.change(s)
		if result := r.result(t.Context(), s); !row.want(*result.Priority) {
			t.Errorf("%s: got the priority %d", name, *result.Priority)
		}
	}
}

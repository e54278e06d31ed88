package stories

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
)

// Fault A22: another client writes to the PlexLink constantly, so the cache is always stale.
func TestFinalizerIsAddedAlthoughAnotherClientKeepsWritingToTheLink(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator(watchesLate(w, "/plexlinks", 100*time.Millisecond))
	w.linked("first") // The operator is running.
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	defer done.Wait()
	defer cancel()
	link := w.create("kometa")
	start, writes := time.Now(), 0
	done.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
			writes++
			patch := fmt.Sprintf(`{"metadata":{"annotations":{"test.example.com/heartbeat":"%d"}}}`, writes)
			other := &v1alpha1.PlexLink{ObjectMeta: metav1.ObjectMeta{Namespace: link.Namespace, Name: link.Name}}
			err := admin.Patch(ctx, other, client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner("heartbeat"))
			if err != nil && ctx.Err() == nil {
				w.Errorf("the other client failed: %v", err)
				return
			}
		}
	})
	w.showsPIN("kometa")
	took := time.Since(start)
	if took > 2*time.Second {
		t.Errorf("the PIN was shown after %s, want at most 2 s", took)
	}
	if f := w.link("kometa").Finalizers; len(f) != 1 {
		t.Errorf("got the finalizers %q, want ours", f)
	}
	cancel()
	done.Wait()
	t.Logf("the PIN was shown after %s and %d writes of the other client", took.Round(time.Millisecond), writes)
}

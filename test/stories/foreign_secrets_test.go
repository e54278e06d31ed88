package stories

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
)

// Fault B11: foreign Secrets with our label and large annotations filled the cache. Not parallel, because it measures
// the heap. `make footprint` measures the released manager with 500 of them.
func TestForeignSecretsWithOurLabelAreCachedStripped(t *testing.T) {
	const foreign, annotation = 100, 250 << 10
	w := newWorld(t)
	o := w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	before := heap()
	for i := range foreign {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("foreign-%03d", i), Namespace: w.namespace,
			Labels: map[string]string{
				v1alpha1.ManagedByLabel: v1alpha1.ManagedBy, v1alpha1.NameLabel: "kometa", v1alpha1.UIDLabel: "another",
			},
			Annotations: map[string]string{"example.com/large": strings.Repeat("x", annotation)},
		}}
		if err := admin.Create(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
	}
	w.eventually("all of them in the cache", func() error { return cached(w, o, foreign) })
	grown := heap() - before
	t.Logf("%d foreign Secrets with annotations of %d KiB: the heap grew by %.1f MiB", foreign, annotation>>10, float64(grown)/(1<<20))
	if grown > 4<<20 {
		t.Errorf("the heap grew by %d MiB, want less than 4: the annotations are probably cached", grown>>20)
	}

	w.linked("tautulli") // They have no effect.
	w.delete("tautulli")
	w.isGone("tautulli")
	if err := admin.DeleteAllOf(t.Context(), &corev1.Secret{}, client.InNamespace(w.namespace),
		client.MatchingLabels{v1alpha1.UIDLabel: "another"}); err != nil {
		t.Fatal(err)
	}
}

// cached returns nil when the operator's cache has want foreign Secrets.
func cached(w *world, o *operator, want int) error {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	if err := o.manager.GetClient().List(w.Context(), list, client.InNamespace(w.namespace)); err != nil {
		return err
	}
	got := 0
	for _, secret := range list.Items {
		if strings.HasPrefix(secret.Name, "foreign-") {
			got++
		}
	}
	if got != want {
		return fmt.Errorf("got %d, want %d", got, want)
	}
	return nil
}

// heap returns the size of the heap in use.
func heap() int64 {
	var stats runtime.MemStats
	for range 3 { // A sync.Pool is empty only after two.
		runtime.GC()
	}
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

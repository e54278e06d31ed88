package stories

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
)

// recording holds every event of a watch, in order, and the objects that exist, by name.
type recording[T client.Object] struct {
	mu      sync.Mutex
	events  []watch.Event
	objects map[string]T
}

// recordSecrets records what happens to the Secrets of the world from now on.
func (w *world) recordSecrets() *recording[*corev1.Secret] {
	w.Helper()
	return record[*corev1.Secret](w, &corev1.SecretList{})
}

// recordLinks records what happens to the PlexLinks of the world from now on.
func (w *world) recordLinks() *recording[*v1alpha1.PlexLink] {
	w.Helper()
	return record[*v1alpha1.PlexLink](w, &v1alpha1.PlexLinkList{})
}

func record[T client.Object](w *world, list client.ObjectList) *recording[T] {
	w.Helper()
	// Not the test's context, which is canceled before the checks of the end.
	events, err := admin.Watch(context.Background(), list, client.InNamespace(w.namespace))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(events.Stop)
	r := &recording[T]{objects: map[string]T{}}
	go func() {
		for event := range events.ResultChan() {
			r.see(event)
		}
	}()
	return r
}

func (r *recording[T]) see(event watch.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event)
	switch object, ok := event.Object.(T); {
	case ok && event.Type == watch.Deleted:
		delete(r.objects, object.GetName())
	case ok:
		r.objects[object.GetName()] = object
	}
}

// of returns the events of the object with the name, with the object as it was then.
func (r *recording[T]) of(name string) (types []watch.EventType, objects []T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, event := range r.events {
		if object, ok := event.Object.(T); ok && object.GetName() == name {
			types, objects = append(types, event.Type), append(objects, object)
		}
	}
	return types, objects
}

// latest returns copies of the objects that exist, by name, as the watch has seen them. It costs the API server nothing.
func (r *recording[T]) latest() map[string]T {
	r.mu.Lock()
	defer r.mu.Unlock()
	objects := map[string]T{}
	for name, object := range r.objects {
		objects[name] = object.DeepCopyObject().(T)
	}
	return objects
}

// checkStaysReady checks that a link that was Ready has been so in every version that was recorded.
func checkStaysReady(w *world, r *recording[*v1alpha1.PlexLink], name string) {
	w.Helper()
	_, versions := r.of(name)
	if len(versions) == 0 {
		w.Errorf("got no version of %s, want some", name)
	}
	for _, link := range versions {
		if !meta.IsStatusConditionTrue(link.Status.Conditions, v1alpha1.ConditionReady) {
			w.Errorf("got a status that is not Ready, want it to stay so: %s", message(link))
			return
		}
	}
}

package controller

import (
	"context"
	"fmt"
	"slices"
	"time"
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/discovery"
	"plexlink.dev/operator/internal/pace"
	"plexlink.dev/operator/internal/servercheck"
)

// uidIndex finds the cached Secrets of a link by the value of UIDLabel.
const uidIndex = "link-uid"

// SetupWithManager registers the reconciler. It watches PlexLinks, and the metadata of Secrets with our label: other Secrets
// cost no memory, and no token is in the cache.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	r.turns, r.ended = make(chan event.GenericEvent, 1024), make(chan struct{})
	r.metrics, r.memory, r.slow, r.started = newMetrics(), newMemory(), newSlots(r.Workers), r.Clock.Now()
	r.pace = pace.New(pace.Options{QPS: r.QPS, Burst: r.Burst, Turn: func(l pace.Link) { r.Wake(types.NamespacedName(l)) }})
	r.discovery = discovery.New(discovery.Options{Reader: r.APIReader, Namespaces: r.Namespaces, Clock: r.Clock})
	r.servers = servercheck.New(servercheck.Options{
		Interval: r.ServerCheckInterval, Reach: r.reach, Changed: r.serverChanged, Clock: r.Clock,
	})
	if err := r.registerMetrics(mgr.Elected()); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	if err := mgr.GetFieldIndexer().IndexField(context.Background(), secretMetadata(), uidIndex, uidOf); err != nil {
		return fmt.Errorf("index Secrets: %w", err)
	}
	if err := mgr.GetFieldIndexer().IndexField(context.Background(), &v1alpha1.PlexLink{}, leaderIndex, leaderOf); err != nil {
		return fmt.Errorf("index PlexLinks: %w", err)
	}
	if err := mgr.Add(manager.RunnableFunc(r.saveAtShutdown)); err != nil {
		return fmt.Errorf("add the saver: %w", err)
	}
	if err := mgr.Add(r.servers); err != nil {
		return fmt.Errorf("add the check of servers: %w", err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.PlexLink{}, builder.WithPredicates(predicate.Or(
			predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}, finalizerLost()))).
		Watches(&v1alpha1.PlexLink{}, r.releases()).
		Watches(&v1alpha1.PlexLink{}, handler.EnqueueRequestsFromMapFunc(r.followersOf), builder.WithPredicates(leaderChanged())).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(linkOfSecret)).
		WatchesRawSource(source.Channel(r.turns, &handler.EnqueueRequestForObject{})).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: r.Workers,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](time.Second, 5*time.Second),
		}).
		Complete(r)
}

// Wake reconciles a link whose turn for a PIN has come, whose token a follower doubts, or whose server stopped or resumed
// answering. Tests that move the clock call it in place of the timers, which take real time.
func (r *Reconciler) Wake(link types.NamespacedName) {
	select {
	case r.turns <- event.GenericEvent{Object: &v1alpha1.PlexLink{ObjectMeta: metav1.ObjectMeta{Namespace: link.Namespace, Name: link.Name}}}:
	case <-r.ended: // The channel is no longer read.
	}
}

// releases records the links that `manager --uninstall` released, from the last version of those that are gone, too.
func (r *Reconciler) releases() handler.Funcs {
	note := func(object client.Object) {
		if link, ok := object.(*v1alpha1.PlexLink); ok && link.Annotations[v1alpha1.ReleasedAtAnnotation] != "" {
			r.memory.release(link)
		}
	}
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	return handler.Funcs{
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, _ queue) { note(e.ObjectNew) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, _ queue) { note(e.Object) },
	}
}

// finalizerLost selects updates that removed our finalizer, so that it is put back.
func finalizerLost() predicate.Funcs {
	has := func(object client.Object) bool {
		return slices.Contains(object.GetFinalizers(), v1alpha1.Finalizer)
	}
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false }, DeleteFunc: func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
		UpdateFunc:  func(e event.UpdateEvent) bool { return has(e.ObjectOld) && !has(e.ObjectNew) },
	}
}

// linkOfSecret returns a request for the PlexLink of a cached Secret.
func linkOfSecret(_ context.Context, secret client.Object) []reconcile.Request {
	name := ownerOfCached(secret).Name
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: secret.GetNamespace(), Name: name}}}
}

// uidOf returns the UID of the link that a cached Secret belongs to.
func uidOf(secret client.Object) []string { return []string{string(ownerOfCached(secret).UID)} }

// ownerOfCached returns the owner reference that stripSecret has set.
func ownerOfCached(secret client.Object) metav1.OwnerReference {
	if owners := secret.GetOwnerReferences(); len(owners) > 0 {
		return owners[0]
	}
	return metav1.OwnerReference{}
}

// secretMetadata returns a Secret of which only the metadata is read.
func secretMetadata() *metav1.PartialObjectMetadata {
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return secret
}

// startMemory records the links that exist when the process starts to work.
func (r *Reconciler) startMemory(ctx context.Context) error {
	r.memory.starting.Lock()
	defer r.memory.starting.Unlock()
	if r.memory.hasStarted() {
		return nil
	}
	var links v1alpha1.PlexLinkList
	if err := r.Client.List(ctx, &links, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list PlexLinks: %w", err)
	}
	r.memory.start(links.Items)
	return nil
}

// CacheOptions returns the options of the manager's cache: it holds PlexLinks, and the metadata that the operator reads of
// Secrets with our label. Without namespaces it covers all of them.
func CacheOptions(namespaces []string) cache.Options {
	options := cache.Options{
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.PlexLink{}: {Transform: stripLink},
			secretMetadata():     {Label: labels.SelectorFromSet(labels.Set{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy}), Transform: stripSecret},
		},
	}
	for _, namespace := range namespaces {
		if options.DefaultNamespaces == nil {
			options.DefaultNamespaces = map[string]cache.Config{}
		}
		options.DefaultNamespaces[namespace] = cache.Config{}
	}
	return options
}

// stripLink removes what the operator never reads of a cached PlexLink, and deduplicates texts that thousands share.
func stripLink(object any) (any, error) {
	link, ok := object.(*v1alpha1.PlexLink)
	if !ok {
		return object, nil
	}
	link.ManagedFields = nil
	delete(link.Annotations, corev1.LastAppliedConfigAnnotation)
	link.Status.Conditions = slices.Clone(link.Status.Conditions)
	for i := range link.Status.Conditions {
		c := &link.Status.Conditions[i]
		c.Type, c.Reason, c.Message = shared(c.Type), shared(c.Reason), shared(c.Message)
		c.Status = metav1.ConditionStatus(shared(string(c.Status)))
	}
	return link, nil
}

// shared returns the one copy of a text, which is kept while it is in use.
func shared(text string) string { return unique.Make(text).Value() }

// stripSecret keeps what the operator reads of a cached Secret. Foreign Secrets may have our label too, with annotations of
// up to 256 KiB. The link is found by label, so that a removed owner reference is put back; it is kept as an owner
// reference anyway, because a map of labels takes four times the memory. Informers call this twice for listed objects.
func stripSecret(object any) (any, error) {
	secret, ok := object.(*metav1.PartialObjectMetadata)
	if !ok || len(secret.Labels) == 0 {
		return object, nil
	}
	owner := metav1.OwnerReference{Name: secret.Labels[v1alpha1.NameLabel], UID: types.UID(secret.Labels[v1alpha1.UIDLabel])}
	secret.ObjectMeta = metav1.ObjectMeta{
		Name: secret.Name, Namespace: secret.Namespace, UID: secret.UID, ResourceVersion: secret.ResourceVersion,
		OwnerReferences: []metav1.OwnerReference{owner},
	}
	return secret, nil
}

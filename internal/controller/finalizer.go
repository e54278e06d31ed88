package controller

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"plexlink.dev/operator/api/v1alpha1"
)

// keepFinalizer adds the finalizer before the first effect at plex.tv, and again if another client removed it: the link
// must not go before it is signed out.
func (r *Reconciler) keepFinalizer(ctx context.Context, s *scope) error {
	if r.releasedAfterStart(s) {
		return nil
	}
	link, err := r.patchLink(ctx, s.link, func(link *v1alpha1.PlexLink) bool {
		_, released := link.Annotations[v1alpha1.ReleasedAtAnnotation]
		delete(link.Annotations, v1alpha1.ReleasedAtAnnotation)
		added := controllerutil.AddFinalizer(link, v1alpha1.Finalizer)
		s.memory.unclaimed = s.memory.unclaimed || added && !released
		return added || released
	})
	if err != nil {
		return fmt.Errorf("add finalizer: %w", err)
	}
	s.link = link
	s.memory.newest = link.ResourceVersion
	return nil
}

// releasedAfterStart reports whether `manager --uninstall` released the link while this operator was running. An operator
// that was started later takes the link back.
func (r *Reconciler) releasedAfterStart(s *scope) bool {
	released, err := time.Parse(time.RFC3339, s.link.Annotations[v1alpha1.ReleasedAtAnnotation])
	if err != nil || released.Before(r.started.Truncate(time.Second)) {
		return false
	}
	r.memory.release(s.link)
	return true
}

// removeFinalizer lets the API server delete the link.
func (r *Reconciler) removeFinalizer(ctx context.Context, s *scope) error {
	link, err := r.patchLink(ctx, s.link, func(link *v1alpha1.PlexLink) bool {
		return controllerutil.RemoveFinalizer(link, v1alpha1.Finalizer)
	})
	if err != nil {
		return client.IgnoreNotFound(fmt.Errorf("remove finalizer: %w", err))
	}
	s.memory.newest = link.ResourceVersion
	return nil
}

// patchLink changes the metadata of a PlexLink, unless the change reports that nothing differs, and returns the result. The
// optimistic lock preserves finalizers of others. After a conflict it bypasses the cache, which may be behind for as long
// as others write to the PlexLink.
func (r *Reconciler) patchLink(
	ctx context.Context, link *v1alpha1.PlexLink, change func(*v1alpha1.PlexLink) bool,
) (*v1alpha1.PlexLink, error) {
	const attempts = 5
	for attempt := 1; ; attempt++ {
		before := link.DeepCopy()
		if !change(link) {
			return link, nil
		}
		patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
		err := r.Client.Patch(ctx, link, patch, client.FieldOwner(v1alpha1.ManagedBy))
		if !apierrors.IsConflict(err) || attempt == attempts {
			return link, err
		}
		uid := link.UID
		link = &v1alpha1.PlexLink{}
		if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(before), link); err != nil {
			return nil, err
		}
		if link.UID != uid {
			return nil, apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource("plexlinks").GroupResource(), before.Name)
		}
	}
}

// Release removes the finalizer from every PlexLink and marks the link as released. It is for the removal of the operator:
// without one, links with a finalizer cannot be deleted. Tokens stay valid; the account's owner can remove the devices at
// plex.tv. It returns the number of released links.
func Release(ctx context.Context, c client.Client, now time.Time, namespaces ...string) (int, error) {
	if len(namespaces) == 0 {
		namespaces = []string{""}
	}
	count := 0
	for _, namespace := range namespaces {
		var links v1alpha1.PlexLinkList
		if err := c.List(ctx, &links, client.InNamespace(namespace)); err != nil {
			return count, err
		}
		for i := range links.Items {
			link := &links.Items[i]
			before := link.DeepCopy()
			if !controllerutil.RemoveFinalizer(link, v1alpha1.Finalizer) {
				continue
			}
			if link.Annotations == nil {
				link.Annotations = map[string]string{}
			}
			link.Annotations[v1alpha1.ReleasedAtAnnotation] = now.UTC().Format(time.RFC3339)
			// Without an optimistic lock: the operator may still be writing, which must not make this fail.
			if err := c.Patch(ctx, link, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
				return count, err
			}
			count++
		}
	}
	return count, nil
}

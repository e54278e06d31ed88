package controller

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
)

const (
	// signOutPatience is how long a deletion waits for plex.tv, so that a namespace never hangs.
	signOutPatience = 5 * time.Minute
	// signOutRetryLimit bounds the back-off meanwhile.
	signOutRetryLimit = 30 * time.Second
)

// delete ends a link: it signs the device out at plex.tv, removes the Secrets and then the finalizer. With the policy
// Retain both stay, without an owner.
func (r *Reconciler) delete(ctx context.Context, s *scope) error {
	if !controllerutil.ContainsFinalizer(s.link, v1alpha1.Finalizer) {
		return nil
	}
	r.pins.leave(s.link.UID)
	if s.link.Spec.DeletionPolicy == v1alpha1.DeletionPolicyRetain {
		err := r.release(ctx, s)
		if apierrors.IsForbidden(err) && !s.now.Before(r.backOff.since(s, "release").Add(signOutPatience)) {
			err = nil
		}
		if err != nil {
			return err
		}
		return r.removeFinalizer(ctx, s)
	}
	if done := r.signOut(ctx, s); !done {
		return nil
	}
	for _, name := range []string{s.link.Name + v1alpha1.DeviceSecretSuffix, secretName(s.link), s.link.Status.SecretName} {
		if name == "" {
			continue
		}
		if err := overlookForbidden(r.deleteSecret(ctx, s.link, name)); err != nil {
			return err
		}
	}
	return r.removeFinalizer(ctx, s)
}

// overlookForbidden takes it that the operator has lost its rights to Secrets because the namespace is being deleted. Where
// its rights are Roles in some namespaces, a namespace's deletion removes them before the PlexLinks; the Secrets go too.
func overlookForbidden(err error) error {
	if apierrors.IsForbidden(err) {
		return nil
	}
	return err
}

// signOut makes the token invalid everywhere. It says whether that is done, or given up.
func (r *Reconciler) signOut(ctx context.Context, s *scope) bool {
	d := s.device
	if d.ClientIdentifier == "" {
		// In a namespace that is being deleted the device Secret goes before the PlexLink.
		remembered, _ := r.devices.Load(s.link.UID)
		d, _ = remembered.(device)
	}
	if d.Token == "" || d.TokenRevoked {
		return true
	}
	// Not from the deletion on: that is by the API server's clock, and nobody has tried while the operator was down.
	givesUp := r.backOff.since(s, "signout").Add(signOutPatience)
	if !s.now.Before(givesUp) {
		s.notices = append(s.notices, signOutGivenUp())
		return true
	}
	if wait := r.backOff.remaining(s, "signout"); wait > 0 {
		s.requeue(wait)
		return false
	}
	withIdentifier := *s
	withIdentifier.device = d
	_, err := ask(ctx, r, s, ordinary, "signout", func(ctx context.Context) (struct{}, error) {
		return struct{}{}, r.Plex.SignOut(ctx, withIdentifier.plexDevice(r.Version), d.Token)
	})
	switch {
	case err == nil:
		s.notices = append(s.notices, signedOut())
		return true
	case errors.Is(err, plex.ErrTokenInvalid):
		return true
	case !isNotYet(err):
		log.FromContext(ctx).Info("The device could not be signed out", "error", err.Error())
		s.requeue(r.backOff.next(s, "signout", signOutRetryLimit))
	}
	s.requeue(max(givesUp.Sub(s.now), 0))
	return false
}

// release keeps the Secrets when the link goes: without an owner nothing collects them.
func (r *Reconciler) release(ctx context.Context, s *scope) error {
	target, err := r.readTarget(ctx, s)
	if err != nil {
		return err
	}
	if s.deviceSecret != nil {
		if err := r.disown(ctx, s.link, s.deviceSecret); err != nil {
			return err
		}
	}
	if target != nil {
		return r.disown(ctx, s.link, target)
	}
	return nil
}

// disown takes the owner reference to the link off an object. The labels stay: a new PlexLink of that name adopts it.
func (r *Reconciler) disown(ctx context.Context, link *v1alpha1.PlexLink, object client.Object) error {
	if ownershipOf(object, link) != ours {
		return nil
	}
	before := object.DeepCopyObject().(client.Object)
	if err := controllerutil.RemoveControllerReference(link, object, r.Client.Scheme()); err != nil {
		return err
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	return client.IgnoreNotFound(r.Client.Patch(ctx, object, patch, client.FieldOwner(v1alpha1.ManagedBy)))
}

// addFinalizer keeps the link until it is signed out. It comes before the first effect at plex.tv. A process does it once
// for each link, so that it does not undo what `manager --uninstall` does beside it.
func (r *Reconciler) addFinalizer(ctx context.Context, s *scope) error {
	if _, done := r.finalized.LoadOrStore(s.link.UID, true); done {
		return nil
	}
	before := s.link.DeepCopy()
	if !controllerutil.AddFinalizer(s.link, v1alpha1.Finalizer) {
		return nil
	}
	s.isNew = true
	if err := r.patchLink(ctx, s.link, before); err != nil {
		r.finalized.Delete(s.link.UID)
		return err
	}
	return nil
}

func (r *Reconciler) removeFinalizer(ctx context.Context, s *scope) error {
	before := s.link.DeepCopy()
	controllerutil.RemoveFinalizer(s.link, v1alpha1.Finalizer)
	if err := r.patchLink(ctx, s.link, before); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	s.requeueAfter = 0
	r.forget(s.link.UID)
	return nil
}

// patchLink writes the change of a PlexLink's metadata; the lock keeps finalizers of others.
func (r *Reconciler) patchLink(ctx context.Context, link, before *v1alpha1.PlexLink) error {
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	return r.Client.Patch(ctx, link, patch, client.FieldOwner(v1alpha1.ManagedBy))
}

// RemoveFinalizers takes the finalizer of PlexLink off all links, for when the operator is removed: nobody would do it
// later, and the links could not be deleted. Tokens stay valid; the account's owner can remove the devices at plex.tv.
func RemoveFinalizers(ctx context.Context, c client.Client, namespaces ...string) (int, error) {
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
			// Without a lock: the operator may still be writing, and this must not fail for it.
			if err := c.Patch(ctx, link, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
				return count, err
			}
			count++
		}
	}
	return count, nil
}

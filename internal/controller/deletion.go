package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/pace"
	"plexlink.dev/operator/internal/plex"
)

const (
	// endPatience is how long a deletion retries, so that neither it nor a namespace waits forever.
	endPatience = 5 * time.Minute
	// pollForEndPatience is how long a deletion retries polling an open PIN: one that was entered lives ten seconds.
	pollForEndPatience = 30 * time.Second
	// forbiddenPatience is how long a deletion retries forbidden requests. If the permissions are Roles, the deletion of a
	// namespace removes them before the PlexLinks.
	forbiddenPatience = 15 * time.Second
)

// end signs a deleted link out at plex.tv, removes its Secrets and then the finalizer. With the policy Retain token and
// Secrets stay, without an owner reference.
func (r *Reconciler) end(ctx context.Context, s *scope) {
	if !controllerutil.ContainsFinalizer(s.link, v1alpha1.Finalizer) {
		return
	}
	steps := []endStep{r.readForEnd, r.pollForEnd, r.signOutAll, r.deleteSecrets}
	if s.link.Spec.DeletionPolicy == v1alpha1.DeletionPolicyRetain {
		steps = []endStep{r.readForEnd, r.pollForEnd, r.retainToken, r.retainSecrets}
	}
	if !r.endBy(ctx, s, steps) {
		return
	}
	if err := r.removeFinalizer(ctx, s); err != nil {
		log.FromContext(ctx).Info("Could not remove the finalizer; retrying", "error", err.Error())
		s.requeue(r.pace.Failed(s.pace(), pace.EndLink, conflictInterval, s.now))
		return
	}
	s.requeueAfter = 0
}

// endStep is a part of a deletion. Its error is an *unfinished if the deletion may eventually go on despite it.
type endStep func(context.Context, *scope) error

// unfinished is what a deletion leaves behind if it goes on despite an error.
type unfinished struct {
	cause error
	// left is what remains, "" for nothing, and advice is what a person can do about it.
	left, advice string
}

// Error returns the message of the cause.
func (u *unfinished) Error() string { return u.cause.Error() }

// Unwrap returns the cause.
func (u *unfinished) Unwrap() error { return u.cause }

// endBy runs the steps of a deletion and reports whether they are done or given up. If not, it has requeued the link.
func (r *Reconciler) endBy(ctx context.Context, s *scope, steps []endStep) bool {
	_ = r.sinceFirst(s, pace.EndLink, 0) // The clock starts with the first attempt, not with a failure.
	for _, step := range steps {
		err := step(ctx, s)
		if err == nil {
			continue
		}
		u, mayGoOn := errors.AsType[*unfinished](err)
		if wait := r.untilEndGoesOn(s, err); wait > 0 || !mayGoOn {
			s.requeue(max(wait, time.Second))
			return false
		}
		if u.left != "" {
			s.tell(leftBehind(u))
		}
	}
	return true
}

// untilEndGoesOn returns how long to wait before a deletion is retried after an error; 0: go on despite it.
func (r *Reconciler) untilEndGoesOn(s *scope, err error) time.Duration {
	patience := endPatience
	if apierrors.IsForbidden(err) {
		patience = forbiddenPatience
	}
	left := r.pace.FirstTried(s.pace(), pace.EndLink, s.now).Add(patience).Sub(s.now)
	switch {
	case errors.Is(err, errLater): // The step has requeued the link, and gives up after endPatience.
		return max(left, time.Second)
	case left <= 0:
		return 0
	}
	return min(left, r.pace.Failed(s.pace(), pace.EndLink, conflictInterval, s.now))
}

// readForEnd finds the newest state without creating or adopting anything. In a namespace that is being deleted the device
// Secret goes before the PlexLink; then only memory has the token.
func (r *Reconciler) readForEnd(ctx context.Context, s *scope) error {
	if s.memory.signedOut {
		return nil
	}
	var secret corev1.Secret
	err := r.APIReader.Get(ctx, types.NamespacedName{Namespace: s.name.Namespace, Name: deviceName(s.link)}, &secret)
	switch {
	case s.memory.known && (err != nil || s.memory.unsaved || ownershipOf(&secret, s.link) != ours):
		if err == nil && ownershipOf(&secret, s.link) == ours {
			s.device = versionOf(&secret)
			s.stored, _ = decodeState(secret.Data)
		}
		s.state = s.memory.state
	case apierrors.IsNotFound(err):
		if s.link.Status.Account != nil && s.link.Spec.DeletionPolicy != v1alpha1.DeletionPolicyRetain {
			s.tell(tokenUnknown(deviceName(s.link)))
		}
	case err != nil && s.link.Spec.DeletionPolicy == v1alpha1.DeletionPolicyRetain:
		return &unfinished{cause: err} // The token stays where it is.
	case err != nil:
		return &unfinished{err, "the token of Secret " + deviceName(s.link), removeDevice}
	case isDevice(&secret) && ownershipOf(&secret, s.link) == ours:
		stored, err := decodeState(secret.Data)
		if err == nil {
			r.memory.stored(s.memory, stored, versionOf(&secret))
			s.state, s.stored, s.device = stored, stored, versionOf(&secret)
		}
	}
	return nil
}

// pollForEnd polls an open PIN once more: a person may have entered it just before the deletion.
func (r *Reconciler) pollForEnd(ctx context.Context, s *scope) error {
	if !s.state.pinOpen() {
		r.pace.LeavePIN(s.pace())
		return nil
	}
	token, err := ask(ctx, r, s, pace.Poll, "pins.check", func(ctx context.Context) (plex.Sensitive, error) {
		return r.Plex.CheckPIN(ctx, s.plexDevice(), s.state.PINID)
	})
	class := plex.Classify(err)
	unknown := errors.Is(err, errLater) || class != plex.ClassOK && class != plex.ClassPINGone
	if unknown && !r.sinceFirst(s, pace.EndLink, pollForEndPatience) {
		s.requeue(time.Second)
		return errLater
	}
	r.pace.LeavePIN(s.pace())
	if token == "" {
		s.state = s.state.pinGone(s.now)
	} else {
		s.state = s.state.tokenReceived(token, s.now)
	}
	r.memory.keep(s.memory, s.state)
	return nil
}

// retainToken stores the token that the last poll of a PIN returned.
func (r *Reconciler) retainToken(ctx context.Context, s *scope) error {
	if !s.memory.unsaved || s.state.Token == "" {
		return nil
	}
	version, err := r.writeState(ctx, s)
	switch {
	case isTerminating(err):
		return nil
	case err != nil:
		return &unfinished{err, "the token for Secret " + deviceName(s.link), removeDevice}
	}
	r.memory.stored(s.memory, s.state, version)
	return nil
}

// signOutAll invalidates all tokens of the link, or gives up.
func (r *Reconciler) signOutAll(ctx context.Context, s *scope) error {
	if s.memory.signedOut {
		return nil
	}
	tokens := []plex.Sensitive{s.state.StrayToken, s.state.PendingToken}
	if !s.state.Revoked {
		tokens = append(tokens, s.state.Token)
	}
	signedOutAny := false
	for _, token := range tokens {
		if token == "" {
			continue
		}
		if !r.signOut(ctx, s, token, pace.EndLink) {
			return errLater
		}
		signedOutAny = true
	}
	s.state = s.state.signedOut()
	r.memory.ended(s.memory, s.state)
	if signedOutAny && !slices.ContainsFunc(s.notices, func(n notice) bool { return n.reason == reasonSignOutFailed }) {
		s.tell(signedOut())
	}
	return nil
}

// deleteSecrets deletes every Secret of the link.
func (r *Reconciler) deleteSecrets(ctx context.Context, s *scope) error {
	return r.eachSecret(ctx, s, "delete manually", func(secret *metav1.PartialObjectMetadata) error {
		return client.IgnoreNotFound(r.Client.Delete(ctx, secret, client.Preconditions{UID: &secret.UID}))
	})
}

// retainSecrets removes the owner references, so that the garbage collector leaves the Secrets alone. The labels stay: a
// new PlexLink of that name adopts them.
func (r *Reconciler) retainSecrets(ctx context.Context, s *scope) error {
	const advice = "the garbage collector deletes it unless you remove its owner reference"
	return r.eachSecret(ctx, s, advice, func(secret *metav1.PartialObjectMetadata) error {
		before := secret.DeepCopy()
		secret.OwnerReferences = slices.DeleteFunc(secret.OwnerReferences, func(ref metav1.OwnerReference) bool { return ref.UID == s.link.UID })
		if len(secret.OwnerReferences) == len(before.OwnerReferences) {
			return nil
		}
		patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
		return client.IgnoreNotFound(r.Client.Patch(ctx, secret, patch, client.FieldOwner(v1alpha1.ManagedBy)))
	})
}

// eachSecret calls a function for every Secret with the labels of the link, listed from the API server. Its error names
// those for which the function failed.
func (r *Reconciler) eachSecret(ctx context.Context, s *scope, advice string, do func(*metav1.PartialObjectMetadata) error) error {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	if err := r.APIReader.List(ctx, list, client.InNamespace(s.name.Namespace), client.MatchingLabels(childLabels(s.link))); err != nil {
		return &unfinished{err, fmt.Sprintf("Secret %s, Secret %s", targetName(s.link), deviceName(s.link)), advice}
	}
	var failed []string
	var errs []error
	for i := range list.Items {
		if err := do(&list.Items[i]); err != nil {
			failed, errs = append(failed, "Secret "+list.Items[i].Name), append(errs, err)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return &unfinished{errs[0], strings.Join(failed, ", "), advice}
}

// endVanished cleans up after a link that is gone although end never ran, because another client removed its finalizer. It
// returns 0 when that is done and the link is forgotten, else how long to wait.
func (r *Reconciler) endVanished(ctx context.Context, name types.NamespacedName, e *entry) time.Duration {
	gone := &v1alpha1.PlexLink{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, UID: e.uid}}
	s := &scope{link: gone, name: name, now: r.Clock.Now(), memory: e, state: e.state}
	if e.known && e.policy != v1alpha1.DeletionPolicyRetain && !r.memory.isReleased(e) {
		done := r.endBy(ctx, s, []endStep{r.pollForEnd, r.signOutAll, r.deleteSecrets})
		for _, n := range s.notices {
			r.emit(ctx, gone, n)
		}
		if !done {
			return s.requeueAfter
		}
	}
	r.pace.Forget(paceLink(name))
	r.servers.Forget(name)
	r.memory.forget(name)
	return 0
}

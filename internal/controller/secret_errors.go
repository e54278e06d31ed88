package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/pace"
)

// secretTrouble decides what a failed request for a Secret means. A refusal is reported at once, any other error when it
// repeats: then the reader of the status may be able to fix it.
func (r *Reconciler) secretTrouble(ctx context.Context, s *scope, task pace.Task, doing string, err error) error {
	if isTerminating(err) {
		return err
	}
	log.FromContext(ctx).Info("Request for a Secret failed; retrying", "doing", doing, "error", err.Error())
	limit := conflictInterval
	if task == pace.StoreState {
		limit = retryInterval
	}
	s.requeue(r.pace.Failed(s.pace(), task, limit, s.now))
	tolerated := 2
	switch {
	case isRefusal(err):
		tolerated = 0
	case isRace(err):
		tolerated = 4
	}
	if r.pace.Failures(s.pace(), task) <= tolerated {
		return errLater
	}
	return &obstacle{
		reason:  v1alpha1.ReasonSecretRefused,
		message: fmt.Sprintf("Could not %s: %s", doing, apiMessage(err)),
		passing: !isRefusal(err),
	}
}

// isRefusal reports whether the API server, an admission check or a quota refuses a Secret, which only a person can fix.
func isRefusal(err error) bool {
	if apierrors.IsForbidden(err) {
		return !isTerminating(err)
	}
	return apierrors.IsInvalid(err) && !isRace(err) || apierrors.IsRequestEntityTooLargeError(err) || apierrors.IsBadRequest(err)
}

// isRace reports whether another client was faster, so that the Secret has to be read again. Apply with the uid of a Secret
// that is gone returns 422 like an invalid field, so the cause's field tells them apart.
func isRace(err error) bool {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
		return true
	}
	status := apierrors.APIStatus(nil)
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	for _, cause := range status.Status().Details.Causes {
		if cause.Field == "metadata.uid" {
			return true
		}
	}
	return false
}

// isTerminating reports whether the API server refuses a request because the namespace is being deleted.
func isTerminating(err error) bool {
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}

// maxAPIMessage leaves room for an admission check's own message, which follows policy names of up to 253 characters.
const maxAPIMessage = 700

// apiMessage returns the API server's message, or a constant text if it was not reached: the error of such a request
// differs from one attempt to the next.
func apiMessage(err error) string {
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return truncate(printable(status.Status().Message), maxAPIMessage)
	}
	return "the API server did not answer"
}

// sinceFirst reports whether a task has been tried for at least d.
func (r *Reconciler) sinceFirst(s *scope, task pace.Task, d time.Duration) bool {
	return !s.now.Before(r.pace.FirstTried(s.pace(), task, s.now).Add(d))
}

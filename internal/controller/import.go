package controller

import (
	"context"
	"errors"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/pace"
	"plexlink.dev/operator/internal/plex"
)

// importToken uses the token of spec.device.importSecretRef instead of minting a PIN. Each version of the Secret is tried
// once.
func (r *Reconciler) importToken(ctx context.Context, s *scope) error {
	ref := s.link.Spec.Device.ImportSecretRef
	if ref == nil || s.state.authorized() || s.state.pinOpen() || s.state.PendingToken != "" {
		return nil
	}
	var secret corev1.Secret
	err := r.APIReader.Get(ctx, types.NamespacedName{Namespace: s.name.Namespace, Name: ref.Name}, &secret)
	if err != nil && !apierrors.IsNotFound(err) {
		return r.secretTrouble(ctx, s, pace.ImportToken, "read Secret "+ref.Name, err)
	}
	identifier, token := importedValue(&secret, keyClientIdentifier), importedValue(&secret, keyToken)
	switch {
	case (err != nil || identifier == "" || token == "") && s.state.Import != "":
		s.requeue(conflictInterval)
		return nil // It was tried before, and may have been removed since.
	case err != nil || identifier == "" || token == "":
		s.requeue(conflictInterval)
		return &obstacle{reason: v1alpha1.ReasonImportUnavailable, message: importUnavailable(ref.Name, err != nil)}
	case s.state.Import == importVersion(&secret):
		s.requeue(conflictInterval) // A change triggers no reconcile.
		return nil
	}
	if wait := r.pace.Remaining(s.pace(), pace.ImportToken, s.now); wait > 0 {
		s.requeue(wait)
		return &obstacle{reason: v1alpha1.ReasonPlexUnavailable, message: s.memory.plexProblem}
	}
	return r.tryImport(ctx, s, &secret, identifier, token)
}

// tryImport accepts an imported token if plex.tv does and its account matches spec.account.
func (r *Reconciler) tryImport(ctx context.Context, s *scope, secret *corev1.Secret, identifier, token plex.Sensitive) error {
	device := s.plexDevice()
	device.ClientIdentifier = identifier
	account, err := ask(ctx, r, s, pace.Entered, "user", func(ctx context.Context) (plex.Account, error) {
		return r.Plex.Account(ctx, device, token)
	})
	refused := ""
	switch class := plex.Classify(err); {
	case errors.Is(err, errLater):
		return err
	case class == plex.ClassTokenInvalid:
		refused = importInvalid(secret.Name)
	case err != nil:
		log.FromContext(ctx).Info("Could not check the imported token; retrying", "error", err.Error())
		s.memory.plexProblem = plexProblem(err)
		s.requeue(r.pace.Failed(s.pace(), pace.ImportToken, conflictInterval, s.now))
		return &obstacle{reason: v1alpha1.ReasonPlexUnavailable, message: s.memory.plexProblem}
	case !s.accepts(account):
		refused = importOfOther(secret.Name, account, s.account())
	}
	r.pace.Succeeded(s.pace(), pace.ImportToken)
	s.memory.plexProblem = ""
	if refused != "" {
		s.state = s.state.importRefused(importVersion(secret), refused)
		s.tell(problem(v1alpha1.ReasonImportRefused, refused))
		return r.save(ctx, s)
	}
	s.state = s.state.imported(identifier, token, account, importVersion(secret), s.now)
	r.pace.LeavePIN(s.pace())
	if err := r.save(ctx, s); err != nil {
		return err
	}
	s.tell(imported(secret.Name, account))
	return nil
}

// importedValue returns a value of a Secret written by a person, without a trailing line break, or "" if it cannot be sent
// as a header.
func importedValue(secret *corev1.Secret, key string) plex.Sensitive {
	value := strings.TrimSpace(string(secret.Data[key]))
	if len(value) > 512 || strings.ContainsFunc(value, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return ""
	}
	return plex.Sensitive(value)
}

// importVersion identifies what a Secret holds.
func importVersion(secret *corev1.Secret) string {
	return string(secret.UID) + "/" + secret.ResourceVersion
}

package controller

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/util/csaupgrade"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
)

// contentHash is the annotation that tells a Secret that was edited from one whose content is to change.
const contentHash = "plexlink.dev/content-hash"

// checkTarget finds what would keep the Secret from being written, before a person is asked to enter a PIN.
func (r *Reconciler) checkTarget(ctx context.Context, s *scope) error {
	s.templateErr = checkTemplate(s.link.Spec.Secret.Template)
	if s.conflict != "" || s.authorized() || s.device.PIN != nil {
		return nil
	}
	target, err := r.readTarget(ctx, s)
	if err != nil {
		return err
	}
	if target != nil && ownershipOf(target, s.link) == foreign {
		s.conflict = target.Name
		s.requeue(conflictInterval)
	}
	return nil
}

// writeSecret makes the Secret what it should be. The first write is a Create, so that nobody else's Secret is ever
// overwritten; later ones apply our fields only and leave those of others alone.
func (r *Reconciler) writeSecret(ctx context.Context, s *scope) error {
	if s.conflict != "" || s.templateErr != nil || !s.authorized() || s.device.Server == nil || s.device.Unproven {
		return nil
	}
	desired, err := desiredSecret(s.link, s.device)
	if err != nil {
		s.templateErr = err
		return nil
	}
	live, err := r.readTarget(ctx, s)
	if err != nil {
		return err
	}
	switch {
	case live == nil:
		return r.createSecret(ctx, s, desired)
	case ownershipOf(live, s.link) == foreign:
		s.conflict = live.Name
		s.requeue(conflictInterval)
		return nil
	case live.DeletionTimestamp != nil:
		s.requeue(conflictInterval)
		return nil
	case live.Type != desired.Type:
		s.templateErr = &templateError{problem: fmt.Sprintf(
			"the Secret %s has the type %s, which cannot change: delete the Secret to get one of type %s",
			live.Name, live.Type, desired.Type)}
		return nil
	case hasAll(live, desired):
		s.secretInPlace = true
		return r.removeFormer(ctx, s)
	}
	if ownershipOf(live, s.link) == adoptable {
		if err := r.adopt(ctx, s.link, live); err != nil {
			return err
		}
	}
	if live.Annotations[contentHash] == desired.Annotations[contentHash] {
		r.metrics.secretRepairs.Inc()
	}
	s.notices = append(s.notices, secretChanged(live, desired))
	return r.applySecret(ctx, s, live, desired)
}

// readTarget reads the Secret from the API server: the cache has only Secrets with our label, so it cannot tell whether
// the name is taken. It returns nil when there is none.
func (r *Reconciler) readTarget(ctx context.Context, s *scope) (*corev1.Secret, error) {
	var secret corev1.Secret
	key := types.NamespacedName{Namespace: s.link.Namespace, Name: secretName(s.link)}
	if err := r.APIReader.Get(ctx, key, &secret); apierrors.IsNotFound(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("read the Secret %s: %w", key.Name, err)
	}
	return &secret, nil
}

// desiredSecret is the Secret as it should be. The error is a *templateError.
func desiredSecret(link *v1alpha1.PlexLink, d device) (*corev1.Secret, error) {
	template := link.Spec.Secret.Template
	data, err := renderData(template, d)
	if err != nil {
		return nil, err
	}
	secret := &corev1.Secret{ObjectMeta: childMeta(link, secretName(link)), Type: corev1.SecretTypeOpaque, Data: data}
	secret.Annotations = map[string]string{}
	if template != nil {
		if template.Type != "" {
			secret.Type = corev1.SecretType(template.Type)
		}
		// Ours are set last: a template never overrides them.
		labels := map[string]string{}
		for k, v := range template.Metadata.Labels {
			labels[k] = string(v)
		}
		maps.Copy(labels, secret.Labels)
		secret.Labels = labels
		for k, v := range template.Metadata.Annotations {
			secret.Annotations[k] = string(v)
		}
	}
	content, err := json.Marshal([]any{secret.Type, secret.Labels, secret.Annotations, secret.Data})
	if err != nil {
		return nil, &templateError{problem: "the Secret cannot be encoded"}
	}
	sum := sha256.Sum256(content)
	secret.Annotations[contentHash] = hex.EncodeToString(sum[:])
	return secret, nil
}

// hasAll says that the live Secret has everything that we want; what others have added does not count. What we no longer
// want shows in the content hash.
func hasAll(live, desired *corev1.Secret) bool {
	for k, v := range desired.Data {
		if got, ok := live.Data[k]; !ok || !bytes.Equal(got, v) {
			return false
		}
	}
	return containsAll(live.Labels, desired.Labels) && containsAll(live.Annotations, desired.Annotations) &&
		metav1.IsControlledBy(live, &metav1.ObjectMeta{UID: desired.OwnerReferences[0].UID})
}

func containsAll(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func (r *Reconciler) createSecret(ctx context.Context, s *scope, desired *corev1.Secret) error {
	err := r.Client.Create(ctx, desired, client.FieldOwner(v1alpha1.ManagedBy))
	switch {
	case isRefusal(err):
		s.refused = err
		s.requeue(conflictInterval)
		return nil
	case err != nil: // AlreadyExists too: somebody was faster, and the next reconciliation decides whose it is.
		return fmt.Errorf("create the Secret %s: %w", desired.Name, err)
	}
	if s.link.Status.SecretName == desired.Name {
		r.metrics.secretRepairs.Inc()
	}
	s.secretInPlace = true
	s.notices = append(s.notices, secretWritten(s.link, desired.Name))
	return r.removeFormer(ctx, s)
}

// applySecret applies our fields to the Secret that was read, and to no other: the uid makes the API server refuse one
// that was created meanwhile under the same name.
func (r *Reconciler) applySecret(ctx context.Context, s *scope, live, desired *corev1.Secret) error {
	// Fields that were set by Create belong to another entry of managedFields than those that Apply sets. Without the
	// change, a key that the template no longer has would stay for ever.
	upgrade, err := csaupgrade.UpgradeManagedFieldsPatch(live, sets.New(v1alpha1.ManagedBy), v1alpha1.ManagedBy)
	if err != nil {
		return fmt.Errorf("take over the fields of the Secret %s: %w", live.Name, err)
	}
	if upgrade != nil {
		if err := r.Client.Patch(ctx, live, client.RawPatch(types.JSONPatchType, upgrade)); err != nil {
			return fmt.Errorf("take over the fields of the Secret %s: %w", live.Name, err)
		}
	}
	owner := desired.OwnerReferences[0]
	config := corev1ac.Secret(desired.Name, desired.Namespace).
		WithUID(live.UID).
		WithLabels(desired.Labels).
		WithAnnotations(desired.Annotations).
		WithOwnerReferences(metav1ac.OwnerReference().WithAPIVersion(owner.APIVersion).WithKind(owner.Kind).
			WithName(owner.Name).WithUID(owner.UID).WithController(true)).
		WithType(desired.Type).
		WithData(desired.Data)
	err = r.Client.Apply(ctx, config, client.FieldOwner(v1alpha1.ManagedBy), client.ForceOwnership)
	switch {
	case isRefusal(err):
		s.refused = err
		s.requeue(conflictInterval)
		return nil
	case err != nil:
		return fmt.Errorf("write the Secret %s: %w", desired.Name, err)
	}
	s.secretInPlace = true
	return r.removeFormer(ctx, s)
}

// isRefusal says that the API server, an admission check or a quota keeps the Secret out, which only a person can
// change.
func isRefusal(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsForbidden(err) && !isTerminating(err)
}

// removeFormer deletes the Secret that spec.secret.name named before, now that the new one is there. The status names it
// until then, so that it is not forgotten when the operator is killed in between.
func (r *Reconciler) removeFormer(ctx context.Context, s *scope) error {
	former := s.link.Status.SecretName
	if former == "" || former == secretName(s.link) {
		return nil
	}
	return r.deleteSecret(ctx, s.link, former)
}

// deleteSecret deletes a Secret of this link. Anybody else's stays.
func (r *Reconciler) deleteSecret(ctx context.Context, link *v1alpha1.PlexLink, name string) error {
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	if err := r.APIReader.Get(ctx, types.NamespacedName{Namespace: link.Namespace, Name: name}, secret); err != nil {
		return client.IgnoreNotFound(err)
	}
	if ownershipOf(secret, link) != ours {
		return nil
	}
	if err := r.Client.Delete(ctx, secret, client.Preconditions{UID: &secret.UID}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete the Secret %s: %w", name, err)
	}
	return nil
}

package controller

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"time"

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
	"plexlink.dev/operator/internal/pace"
)

// contentHash is the annotation that distinguishes a Secret that was edited from one whose content has to change.
const contentHash = "plexlink.dev/content-hash"

// secretAction is what to do with the target Secret.
type secretAction int

const (
	keepSecret secretAction = iota
	createSecret
	applySecret    // it is ours and its content is to change
	repairSecret   // it is ours and was edited
	recreateSecret // its type is to change, or it is that of an earlier link and may have keys of others
	awaitDeletion
	conflictSecret
)

// actionFor decides what to do with the target Secret; live is nil when it does not exist. The first row that matches
// counts:
//
//	live Secret                                        action
//	none                                               createSecret
//	not of this link, nor of an earlier one            conflictSecret
//	being deleted                                      awaitDeletion
//	of an earlier link of this name                    recreateSecret
//	of another type                                    recreateSecret
//	has what is desired                                keepSecret
//	has the content hash that is desired               repairSecret
//	else                                               applySecret
func actionFor(live, desired *corev1.Secret, link *v1alpha1.PlexLink) secretAction {
	switch {
	case live == nil:
		return createSecret
	case ownershipOf(live, link) == foreign:
		return conflictSecret
	case live.DeletionTimestamp != nil:
		return awaitDeletion
	case ownershipOf(live, link) == adoptable, live.Type != desired.Type:
		return recreateSecret
	case hasAll(live, desired):
		return keepSecret
	case live.Annotations[contentHash] == desired.Annotations[contentHash]:
		return repairSecret
	default:
		return applySecret
	}
}

// hasAll reports whether the live Secret has everything that is desired, ignoring additions of others. The content hash
// shows what is no longer desired.
func hasAll(live, desired *corev1.Secret) bool {
	for k, v := range desired.Data {
		if got, ok := live.Data[k]; !ok || !bytes.Equal(got, v) {
			return false
		}
	}
	return containsAll(live.Labels, desired.Labels) && containsAll(live.Annotations, desired.Annotations) &&
		(metav1.GetControllerOf(live) == nil) == (metav1.GetControllerOf(desired) == nil)
}

func containsAll(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// desiredSecret returns the target Secret as it should be. The error is a *template.Error.
func desiredSecret(link *v1alpha1.PlexLink, d state) (*corev1.Secret, error) {
	data, err := renderData(link, d)
	if err != nil {
		return nil, err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: targetName(link), Namespace: link.Namespace, Labels: map[string]string{}, Annotations: map[string]string{},
			OwnerReferences: ownerReferences(link),
		},
		Type: corev1.SecretTypeOpaque, Data: data,
	}
	if t := link.Spec.Secret.Template; t != nil {
		if t.Type != "" {
			secret.Type = corev1.SecretType(t.Type)
		}
		for k, v := range t.Metadata.Labels {
			secret.Labels[k] = string(v)
		}
		for k, v := range t.Metadata.Annotations {
			secret.Annotations[k] = string(v)
		}
	}
	maps.Copy(secret.Labels, childLabels(link)) // Last: a template never overrides them.
	content, err := json.Marshal([]any{secret.Type, secret.Labels, secret.Annotations, secret.Data, secret.OwnerReferences})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	secret.Annotations[contentHash] = hex.EncodeToString(sum[:])
	return secret, nil
}

// checkTarget finds a foreign Secret with the target's name before a person is asked to enter a PIN.
func (r *Reconciler) checkTarget(ctx context.Context, s *scope) error {
	if !s.wantsPIN() && s.newLinkRequest() == "" || s.state.pinOpen() || s.state.PendingToken != "" || s.secretExists {
		return nil
	}
	live, err := r.readTarget(ctx, s)
	if err != nil {
		return r.secretTrouble(ctx, s, pace.WriteSecret, "read Secret "+targetName(s.link), err)
	}
	r.pace.Succeeded(s.pace(), pace.WriteSecret)
	if live != nil && ownershipOf(live, s.link) == foreign {
		s.requeue(conflictInterval)
		return targetConflict(live)
	}
	return nil
}

// syncSecret creates or updates the target Secret, then deletes former targets.
func (r *Reconciler) syncSecret(ctx context.Context, s *scope) error {
	if !s.settled() {
		return serverObstacle(s)
	}
	// The state comes first: it must survive a crash before the Secret shows it.
	if err := r.save(ctx, s); err != nil {
		return err
	}
	desired, err := desiredSecret(s.link, s.state)
	if err != nil {
		return invalidTemplate(err)
	}
	if s.memory.targetName != desired.Name { // Findings about another Secret do not apply.
		s.memory.targetName, s.memory.target, s.memory.contested = desired.Name, "", nil
		r.pace.Succeeded(s.pace(), pace.RepairSecret)
	}
	live, err := r.readTarget(ctx, s)
	if err != nil {
		return r.harmless(s, r.secretTrouble(ctx, s, pace.WriteSecret, "read Secret "+desired.Name, err))
	}
	action := actionFor(live, desired, s.link)
	if action == conflictSecret && live.UID == s.memory.target { // Its labels were removed.
		action = repairSecret
	}
	if err := r.act(ctx, s, action, live, desired); err != nil {
		return err
	}
	if live != nil && action != recreateSecret {
		s.memory.target = live.UID
	}
	r.pace.Succeeded(s.pace(), pace.WriteSecret)
	s.secretSynced = true
	if claimed := s.memory.claimed; !claimed.IsZero() {
		r.metrics.claimToSecret.Observe(r.Clock.Since(claimed).Seconds())
		s.memory.claimed = time.Time{}
	}
	return r.deleteFormer(ctx, s)
}

// harmless marks an obstacle that does not affect the Secret as apps see it.
func (r *Reconciler) harmless(s *scope, err error) error {
	if o, ok := errors.AsType[*obstacle](err); ok {
		o.harmless = s.secretExists
	}
	return err
}

// act carries out an action on the target Secret.
func (r *Reconciler) act(ctx context.Context, s *scope, action secretAction, live, desired *corev1.Secret) error {
	switch action {
	case keepSecret:
		if wait := r.pace.Remaining(s.pace(), pace.RepairSecret, s.now); wait > 0 {
			s.requeue(wait) // How long it stays so decides whether the next repair is a contest.
			return s.contest()
		}
		r.pace.Succeeded(s.pace(), pace.RepairSecret)
		s.memory.contested = nil
		return nil
	case conflictSecret:
		s.requeue(conflictInterval)
		return targetConflict(live)
	case awaitDeletion:
		s.requeue(conflictInterval)
		return errLater
	case createSecret, repairSecret:
		if action == createSecret && s.memory.target == "" {
			return r.create(ctx, s, desired)
		}
		return r.repair(ctx, s, live, desired)
	case recreateSecret:
		// If the operator dies in between, the next reconciliation creates it.
		err := r.Client.Delete(ctx, live, client.Preconditions{UID: &live.UID})
		if client.IgnoreNotFound(err) != nil {
			return r.secretTrouble(ctx, s, pace.WriteSecret, "delete Secret "+live.Name, err)
		}
		s.tell(secretRecreated(live, desired))
		return r.create(ctx, s, desired)
	default:
		if err := r.apply(ctx, live, desired); err != nil {
			return r.secretTrouble(ctx, s, pace.WriteSecret, "update Secret "+desired.Name, err)
		}
		s.tell(secretUpdated(desired.Name))
		return nil
	}
}

// create creates the target Secret, so that no Secret of others is ever overwritten.
func (r *Reconciler) create(ctx context.Context, s *scope, desired *corev1.Secret) error {
	if err := r.Client.Create(ctx, desired, client.FieldOwner(v1alpha1.ManagedBy)); err != nil {
		return r.secretTrouble(ctx, s, pace.WriteSecret, "create Secret "+desired.Name, err)
	}
	s.memory.target = desired.UID
	s.tell(secretCreated(desired))
	return nil
}

// readTarget reads the target Secret from the API server: the cache holds only Secrets with our label, so a name that is
// missing there may still be taken. It returns nil if there is none.
func (r *Reconciler) readTarget(ctx context.Context, s *scope) (*corev1.Secret, error) {
	var secret corev1.Secret
	err := r.APIReader.Get(ctx, types.NamespacedName{Namespace: s.name.Namespace, Name: targetName(s.link)}, &secret)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return &secret, err
}

// apply writes our fields to the Secret that was read and to no other: because of the uid the API server refuses one that
// was created under the same name in the meantime.
func (r *Reconciler) apply(ctx context.Context, live, desired *corev1.Secret) error {
	// Fields that were set by Create belong to another entry of managedFields than those that Apply sets. Without the
	// change, a key that the template no longer has would stay.
	upgrade, err := csaupgrade.UpgradeManagedFieldsPatch(live, sets.New(v1alpha1.ManagedBy), v1alpha1.ManagedBy)
	if err != nil {
		return err
	}
	if upgrade != nil {
		if err := r.Client.Patch(ctx, live, client.RawPatch(types.JSONPatchType, upgrade)); err != nil {
			return err
		}
	}
	config := corev1ac.Secret(desired.Name, desired.Namespace).
		WithUID(live.UID).
		WithLabels(desired.Labels).
		WithAnnotations(desired.Annotations).
		WithType(desired.Type).
		WithData(desired.Data)
	for _, owner := range desired.OwnerReferences {
		config.WithOwnerReferences(metav1ac.OwnerReference().WithAPIVersion(owner.APIVersion).WithKind(owner.Kind).
			WithName(owner.Name).WithUID(owner.UID).WithController(true))
	}
	return r.Client.Apply(ctx, config, client.FieldOwner(v1alpha1.ManagedBy), client.ForceOwnership)
}

// deleteFormer deletes the Secrets that spec.secret.name named before, once the new one exists.
func (r *Reconciler) deleteFormer(ctx context.Context, s *scope) error {
	secrets, err := r.cachedSecrets(ctx, s.link)
	if err != nil {
		return err
	}
	for i := range secrets {
		former := &secrets[i]
		if former.Name == targetName(s.link) || former.Name == deviceName(s.link) || ownerOfCached(former).Name != s.link.Name {
			continue
		}
		err := r.Client.Delete(ctx, former, client.Preconditions{UID: &former.UID, ResourceVersion: &former.ResourceVersion})
		if client.IgnoreNotFound(err) != nil {
			return r.harmless(s, r.secretTrouble(ctx, s, pace.WriteSecret, "delete former Secret "+former.Name, err))
		}
	}
	return nil
}

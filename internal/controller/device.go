package controller

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/pace"
	"plexlink.dev/operator/internal/plex"
)

const (
	// saveTimeout bounds one attempt to store a state, and all attempts once the operator shuts down.
	saveTimeout = 5 * time.Second
	// saveRetry is the time between two attempts while the operator shuts down.
	saveRetry = 500 * time.Millisecond
)

// loadState finds the state of the link and makes sure that it is stored: no request is sent to plex.tv before the device
// Secret exists and can be written, and no step runs until it holds the newest state.
func (r *Reconciler) loadState(ctx context.Context, s *scope) error {
	if err := r.readState(ctx, s); err != nil {
		return err
	}
	if !s.memory.known {
		s.state = newState(plex.Sensitive(uuid.NewUUID()), requestOf(s.link, v1alpha1.LinkRequestedAtAnnotation))
	}
	s.loaded = true
	return r.save(ctx, s)
}

// readState takes the state of the link from memory if the device Secret is unchanged since it was last read or written,
// else from the device Secret. A foreign Secret of that name is an obstacle.
func (r *Reconciler) readState(ctx context.Context, s *scope) error {
	cached, err := r.cachedSecrets(ctx, s.link)
	if err != nil {
		return err
	}
	s.secretExists = slices.ContainsFunc(cached, func(m metav1.PartialObjectMetadata) bool { return m.Name == targetName(s.link) })
	e := s.memory
	if e.known && !e.unsaved && slices.ContainsFunc(cached, func(m metav1.PartialObjectMetadata) bool {
		return m.Name == deviceName(s.link) && versionOf(&m) == e.device
	}) {
		return nil
	}
	var secret corev1.Secret
	err = r.APIReader.Get(ctx, types.NamespacedName{Namespace: s.name.Namespace, Name: deviceName(s.link)}, &secret)
	switch {
	case apierrors.IsNotFound(err):
		s.device, s.stored = secretVersion{}, state{}
		if e.known { // The remembered state is stored again.
			r.memory.keep(e, e.state)
		}
		return nil
	case err != nil && e.known && e.state.pinOpen():
		return nil // The PIN is polled anyway: an entered one lives ten seconds.
	case err != nil:
		return r.secretTrouble(ctx, s, pace.StoreState, "read Secret "+deviceName(s.link), err)
	}
	return r.takeDevice(ctx, s, &secret)
}

// takeDevice decides what the device Secret just read means for the link.
func (r *Reconciler) takeDevice(ctx context.Context, s *scope, secret *corev1.Secret) error {
	e := s.memory
	stored, err := decodeState(secret.Data)
	owner := ownershipOf(secret, s.link)
	if owner == ours && e.unclaimed && !e.known && !shows(s.link, stored) {
		owner = adoptable
	}
	switch {
	case isDevice(secret) && owner == foreign && secret.UID == e.device.uid: // Its labels were removed.
		return r.adoptDevice(ctx, s, secret, e.state)
	case !isDevice(secret) || owner == foreign:
		s.requeue(conflictInterval)
		return deviceConflict(secret)
	case err != nil && owner == ours && e.known: // It was edited; the remembered state replaces it.
		s.device, s.stored = versionOf(secret), state{}
		r.memory.keep(e, e.state)
	case err != nil:
		s.requeue(conflictInterval)
		return deviceUnreadable(secret, err)
	case owner == adoptable && s.link.Spec.Suspend:
	case owner == adoptable:
		return r.adoptDevice(ctx, s, secret, stored)
	case e.unsaved && !e.overtaken(secret, stored):
		s.device, s.stored = versionOf(secret), stored
	default: // While there is something to store, reading alone is no success.
		r.pace.Succeeded(s.pace(), pace.StoreState)
		r.memory.stored(e, stored, versionOf(secret))
		s.state, s.stored, s.device = stored, stored, versionOf(secret)
	}
	return nil
}

// shows reports whether the status of a link shows the PIN of a state. Such a state was not planted: whoever may write the
// status can show any PIN there without one.
func shows(link *v1alpha1.PlexLink, stored state) bool {
	return stored.pinOpen() && link.Status.PIN != nil && link.Status.PIN.Code == stored.PIN.Code
}

// overtaken reports whether another manager stored a token or a PIN in the device Secret, while this one was cut off from the
// API server or worked at the same time. Neither is replaced by a state without a token of its own: a person may be entering
// that PIN, and the one of this state was never shown.
func (e *entry) overtaken(secret *corev1.Secret, stored state) bool {
	if versionOf(secret) == e.device {
		return false
	}
	mine := e.state
	linked := stored.Token != "" && mine.Token == ""
	asks := stored.pinOpen() && stored.PINID != mine.PINID &&
		mine.Token == stored.Token && mine.PendingToken == stored.PendingToken && mine.StrayToken == stored.StrayToken
	return linked || asks
}

// adoptDevice takes over the device Secret of an earlier link of this name. The remembered state of this link has
// precedence, unless only the Secret has a token: a backup may be restored after its PlexLink.
func (r *Reconciler) adoptDevice(ctx context.Context, s *scope, secret *corev1.Secret, stored state) error {
	fresh := newState(plex.Sensitive(uuid.NewUUID()), requestOf(s.link, v1alpha1.LinkRequestedAtAnnotation))
	taken := stored.adopted(fresh)
	if remembered := s.memory.state; s.memory.known && (remembered.hasToken() || !taken.hasToken()) {
		taken = remembered
	}
	data, err := taken.encode()
	if err != nil {
		return err
	}
	before := secret.DeepCopy()
	secret.Data, secret.OwnerReferences = data, nil
	secret.Labels = labels.Merge(secret.Labels, childLabels(s.link))
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, secret, patch, client.FieldOwner(v1alpha1.ManagedBy)); err != nil {
		return r.secretTrouble(ctx, s, pace.StoreState, "adopt Secret "+secret.Name, err)
	}
	r.pace.Succeeded(s.pace(), pace.StoreState)
	r.memory.stored(s.memory, taken, versionOf(secret))
	s.state, s.stored, s.device = taken, taken, versionOf(secret)
	return nil
}

// save stores the state if it has changed. Until that succeeds, memory keeps the state and no later step runs.
func (r *Reconciler) save(ctx context.Context, s *scope) error {
	if !s.loaded || s.device != (secretVersion{}) && !s.memory.unsaved && reflect.DeepEqual(s.state, s.stored) {
		return nil
	}
	if err := s.state.check(); err != nil {
		return fmt.Errorf("refusing to store device state: %w", err) // This is a bug.
	}
	r.memory.keep(s.memory, s.state)
	version, err := r.writeState(ctx, s)
	if err != nil {
		return r.secretTrouble(ctx, s, pace.StoreState, "store Secret "+deviceName(s.link), err)
	}
	r.pace.Succeeded(s.pace(), pace.StoreState)
	r.memory.stored(s.memory, s.state, version)
	s.stored, s.device = s.state, version
	return nil
}

// writeState writes the state to the device Secret. During shutdown it goes on and retries: what plex.tv has issued must not
// be lost.
func (r *Reconciler) writeState(ctx context.Context, s *scope) (secretVersion, error) {
	saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	for {
		version, err := r.writeDevice(saving, s.link.ObjectMeta, s.state, s.stored, s.device)
		if err == nil || ctx.Err() == nil || saving.Err() != nil {
			return version, err
		}
		time.Sleep(saveRetry)
	}
}

// writeDevice creates the device Secret, or patches the version of it that holds stored.
func (r *Reconciler) writeDevice(
	ctx context.Context, link metav1.ObjectMeta, next, stored state, device secretVersion,
) (secretVersion, error) {
	owner := &v1alpha1.PlexLink{ObjectMeta: link}
	data, err := next.encode()
	if err != nil {
		return secretVersion{}, err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: deviceName(owner), Namespace: link.Namespace, Labels: childLabels(owner)},
		Type:       v1alpha1.DeviceSecretType, Data: data,
	}
	if device == (secretVersion{}) {
		err := r.Client.Create(ctx, secret, client.FieldOwner(v1alpha1.ManagedBy))
		return versionOf(secret), err
	}
	before := secret.DeepCopy()
	before.UID, before.ResourceVersion = device.uid, device.resourceVersion
	if before.Data, err = stored.encode(); err != nil {
		return secretVersion{}, err
	}
	secret.UID, secret.ResourceVersion = before.UID, before.ResourceVersion
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	err = r.Client.Patch(ctx, secret, patch, client.FieldOwner(v1alpha1.ManagedBy))
	return versionOf(secret), err
}

// saveAtShutdown stores the states that could not be stored before the shutdown began.
func (r *Reconciler) saveAtShutdown(ctx context.Context) error {
	<-ctx.Done()
	close(r.ended)
	saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	for {
		unsaved := r.memory.unsavedStates()
		for name, e := range unsaved {
			link := metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, UID: e.uid}
			if err := r.saveUnread(saving, link, &e); err != nil {
				log.FromContext(ctx).Info("Could not store device state at shutdown; retrying", "plexlink", name, "error", err.Error())
				continue
			}
			delete(unsaved, name)
		}
		if len(unsaved) == 0 || saving.Err() != nil {
			return nil
		}
		time.Sleep(saveRetry)
	}
}

// saveUnread reads the device Secret and stores the state of an entry in it.
func (r *Reconciler) saveUnread(ctx context.Context, link metav1.ObjectMeta, e *entry) error {
	owner := &v1alpha1.PlexLink{ObjectMeta: link}
	var secret corev1.Secret
	err := r.APIReader.Get(ctx, types.NamespacedName{Namespace: link.Namespace, Name: deviceName(owner)}, &secret)
	switch {
	case apierrors.IsNotFound(err):
		_, err = r.writeDevice(ctx, link, e.state, state{}, secretVersion{})
	case err == nil && ownershipOf(&secret, owner) == ours:
		if stored, _ := decodeState(secret.Data); !e.overtaken(&secret, stored) {
			_, err = r.writeDevice(ctx, link, e.state, stored, versionOf(&secret))
		}
	}
	return err
}

// cachedSecrets returns the Secrets of a link that are in the cache.
func (r *Reconciler) cachedSecrets(ctx context.Context, link *v1alpha1.PlexLink) ([]metav1.PartialObjectMetadata, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	err := r.Client.List(ctx, list, client.InNamespace(link.Namespace), client.MatchingFields{uidIndex: string(link.UID)})
	if err != nil {
		return nil, fmt.Errorf("list cached Secrets: %w", err)
	}
	return list.Items, nil
}

// versionOf identifies a version of a Secret.
func versionOf(secret metav1.Object) secretVersion {
	return secretVersion{secret.GetUID(), secret.GetResourceVersion()}
}

package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
)

// The keys of the device Secret. What must not be printed has a key of its own; the rest is JSON.
const (
	keyClientIdentifier = "client-identifier"
	keyToken            = "token"
	keyServerToken      = "server-token"
	keyPINID            = "pin-id"
	keyState            = "state.json"
)

// device is the state of a link. It is kept in the device Secret and nowhere else: everything in the status can be
// rebuilt from it and from Plex.
type device struct {
	ClientIdentifier plex.Sensitive
	Token            plex.Sensitive
	ServerToken      plex.Sensitive
	PINID            plex.Sensitive
	deviceState
}

// deviceState is the part of the state that is not secret.
type deviceState struct {
	// PIN that is open.
	PIN *openPIN `json:"pin,omitempty"`
	// Unentered counts the PINs in a row that nobody entered, the open one included.
	Unentered int `json:"unentered,omitempty"`
	// LinkRequestedAt is the value of the annotation that was acted on last.
	LinkRequestedAt string `json:"linkRequestedAt,omitempty"`
	// Relink says that a person asked for a new PIN although the token works.
	Relink bool `json:"relink,omitempty"`
	// TokenRevoked says that plex.tv has called the token invalid.
	TokenRevoked bool `json:"tokenRevoked,omitempty"`
	// Unproven says that the token is newer than the proof of the server.
	Unproven bool `json:"unproven,omitempty"`
	// Account that entered the PIN.
	Account plex.Account `json:"account,omitzero"`
	// Server with the address that is in the Secret.
	Server *server `json:"server,omitempty"`
	// LastPing is when the token was last prolonged.
	LastPing time.Time `json:"lastPing,omitzero"`
}

// openPIN is what a person needs to enter a PIN. Its id is secret and not part of it.
type openPIN struct {
	Code      string    `json:"code"`
	QRURL     string    `json:"qrURL,omitempty"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// server is the chosen server with the address that is in the Secret.
type server struct {
	Name              string        `json:"name"`
	MachineIdentifier string        `json:"machineIdentifier"`
	Version           string        `json:"version,omitempty"`
	Owned             bool          `json:"owned"`
	URL               string        `json:"url"`
	Location          plex.Location `json:"location,omitempty"`
	// Spec is spec.server as it was when the address was chosen.
	Spec string `json:"spec"`
	// Recheck says that spec.server has asked for something else since, in vain: whatever it asks for next is news.
	Recheck bool `json:"recheck,omitempty"`
}

// readDevice reads the state from the API server, not from a cache: a state that is a moment old would mint a second
// PIN, or poll one that is gone. The cache would not know a foreign Secret of that name either.
func (r *Reconciler) readDevice(ctx context.Context, s *scope) error {
	var secret corev1.Secret
	key := types.NamespacedName{Namespace: s.link.Namespace, Name: s.link.Name + v1alpha1.DeviceSecretSuffix}
	if err := r.APIReader.Get(ctx, key, &secret); err != nil {
		return client.IgnoreNotFound(err)
	}
	if secret.Type != v1alpha1.DeviceSecretType || ownershipOf(&secret, s.link) == foreign {
		s.conflict = secret.Name
		return nil
	}
	d, err := decodeDevice(secret.Data)
	if err != nil {
		s.conflict = secret.Name
		return nil
	}
	s.deviceSecret, s.device, s.stored = &secret, d, d
	return nil
}

// ensureDevice makes sure that the link has a client identifier. That of a new link is stored together with its first
// PIN, which saves a write; that of any other link is stored at once.
func (r *Reconciler) ensureDevice(ctx context.Context, s *scope) error {
	if s.conflict != "" {
		s.requeue(conflictInterval)
		return nil
	}
	if s.deviceSecret == nil {
		s.device = device{ClientIdentifier: plex.Sensitive(s.link.Spec.Device.ClientIdentifier)}
		if s.device.ClientIdentifier == "" {
			s.device.ClientIdentifier = plex.Sensitive(uuid.NewString())
		}
		// The annotation asks for a new PIN. A link without a device gets one anyway.
		s.device.LinkRequestedAt = s.link.Annotations[v1alpha1.LinkRequestedAtAnnotation]
		if !s.isNew {
			return r.saveDevice(ctx, s)
		}
		return nil
	}
	if ownershipOf(s.deviceSecret, s.link) == adoptable {
		return r.adopt(ctx, s.link, s.deviceSecret)
	}
	return nil
}

// saveDevice stores the state, if it has changed. It never overwrites what somebody else has written meanwhile.
func (r *Reconciler) saveDevice(ctx context.Context, s *scope) error {
	if s.deviceSecret != nil && reflect.DeepEqual(s.device, s.stored) {
		return nil
	}
	data, err := encodeDevice(s.device)
	if err != nil {
		return err
	}
	if s.deviceSecret == nil {
		secret := &corev1.Secret{
			ObjectMeta: childMeta(s.link, s.link.Name+v1alpha1.DeviceSecretSuffix),
			Type:       v1alpha1.DeviceSecretType,
			Data:       data,
		}
		if err := r.Client.Create(ctx, secret, client.FieldOwner(v1alpha1.ManagedBy)); err != nil {
			return fmt.Errorf("create the device Secret: %w", err)
		}
		s.deviceSecret, s.stored = secret, s.device
		return nil
	}
	before := s.deviceSecret.DeepCopy()
	s.deviceSecret.Data = data
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, s.deviceSecret, patch, client.FieldOwner(v1alpha1.ManagedBy)); err != nil {
		s.deviceSecret = before
		return fmt.Errorf("store the state in the device Secret: %w", err)
	}
	s.stored = s.device
	return nil
}

// encodeDevice is the inverse of decodeDevice.
func encodeDevice(d device) (map[string][]byte, error) {
	state, err := json.Marshal(d.deviceState)
	if err != nil {
		return nil, fmt.Errorf("encode the state of the device: %w", err)
	}
	data := map[string][]byte{keyState: state}
	for key, value := range map[string]plex.Sensitive{
		keyClientIdentifier: d.ClientIdentifier,
		keyToken:            d.Token,
		keyServerToken:      d.ServerToken,
		keyPINID:            d.PINID,
	} {
		if value != "" {
			data[key] = []byte(value.Reveal())
		}
	}
	return data, nil
}

// decodeDevice reads the data of a device Secret. Its errors show nothing of the data.
func decodeDevice(data map[string][]byte) (device, error) {
	d := device{
		ClientIdentifier: plex.Sensitive(data[keyClientIdentifier]),
		Token:            plex.Sensitive(data[keyToken]),
		ServerToken:      plex.Sensitive(data[keyServerToken]),
		PINID:            plex.Sensitive(data[keyPINID]),
	}
	if d.ClientIdentifier == "" {
		return device{}, errors.New("the device Secret has no " + keyClientIdentifier)
	}
	if err := json.Unmarshal(data[keyState], &d.deviceState); err != nil {
		return device{}, errors.New("the device Secret has an unreadable " + keyState)
	}
	if (d.PIN == nil) != (d.PINID == "") {
		return device{}, errors.New("the device Secret has half a PIN")
	}
	return d, nil
}

// childMeta is the metadata of a Secret of this link.
func childMeta(link *v1alpha1.PlexLink, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:            name,
		Namespace:       link.Namespace,
		Labels:          childLabels(link),
		OwnerReferences: []metav1.OwnerReference{ownerReference(link)},
	}
}

// ownerReference does not block the owner's deletion: setting that needs a permission of its own, for nothing, since
// the finalizer keeps the order.
func ownerReference(link *v1alpha1.PlexLink) metav1.OwnerReference {
	ref := *metav1.NewControllerRef(link, linkKind)
	ref.BlockOwnerDeletion = nil
	return ref
}

// childLabels mark a Secret as one of this link.
func childLabels(link *v1alpha1.PlexLink) map[string]string {
	return map[string]string{
		v1alpha1.ManagedByLabel: v1alpha1.ManagedBy,
		v1alpha1.NameLabel:      link.Name,
		v1alpha1.UIDLabel:       string(link.UID),
	}
}

// linkKind is the kind of the owner in owner references.
var linkKind = v1alpha1.GroupVersion.WithKind("PlexLink")

// ownership says whose a Secret is, as a link sees it.
type ownership int

const (
	// foreign: somebody else's. It is never touched.
	foreign ownership = iota
	// ours: it has our labels and our owner reference.
	ours
	// adoptable: it has our labels for a PlexLink of this name that no longer exists: restored from a backup, or kept
	// by the deletion policy Retain.
	adoptable
)

// ownershipOf decides whose a Secret is. Two PlexLinks of one name cannot exist at a time, so a Secret that is labelled
// with this name and another UID belonged to one that is gone.
func ownershipOf(secret metav1.Object, link *v1alpha1.PlexLink) ownership {
	owner := metav1.GetControllerOf(secret)
	if owner != nil && owner.UID == link.UID {
		return ours
	}
	labels := secret.GetLabels()
	labelled := labels[v1alpha1.ManagedByLabel] == v1alpha1.ManagedBy && labels[v1alpha1.NameLabel] == link.Name
	if !labelled {
		return foreign
	}
	if owner == nil || (owner.Kind == linkKind.Kind && owner.APIVersion == v1alpha1.GroupVersion.String() && owner.Name == link.Name) {
		return adoptable
	}
	return foreign
}

// adopt makes a Secret ours. Its data stays as it is.
func (r *Reconciler) adopt(ctx context.Context, link *v1alpha1.PlexLink, secret *corev1.Secret) error {
	before := secret.DeepCopy()
	meta := childMeta(link, secret.Name)
	maps.Copy(secret.Labels, meta.Labels)
	refs := meta.OwnerReferences
	for _, ref := range secret.OwnerReferences {
		if ref.Controller == nil || !*ref.Controller {
			refs = append(refs, ref)
		}
	}
	secret.OwnerReferences = refs
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, secret, patch, client.FieldOwner(v1alpha1.ManagedBy)); err != nil {
		return fmt.Errorf("adopt the Secret %s: %w", secret.Name, err)
	}
	return nil
}

// isTerminating says that the API server refused because the namespace is being deleted.
func isTerminating(err error) bool {
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}

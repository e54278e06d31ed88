package controller

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plexlink.dev/operator/api/v1alpha1"
)

// linkKind is the kind of the owner in owner references.
var linkKind = v1alpha1.GroupVersion.WithKind("PlexLink")

// ownership is the relation of a Secret to a link.
type ownership int

const (
	// foreign: it belongs to another owner and is never touched.
	foreign ownership = iota
	// ours: it has our labels with the UID of this link, or is controlled by it.
	ours
	// adoptable: it has our labels for an earlier PlexLink of this name: it was restored from a backup, or kept by the
	// deletion policy Retain.
	adoptable
)

// ownershipOf returns the relation of a Secret to a link. Two PlexLinks of one name cannot exist at a time, so a Secret that
// is labeled with this name and another UID belonged to one that is gone. An owner reference to this very link counts too,
// so that removed labels are put back.
func ownershipOf(secret metav1.Object, link *v1alpha1.PlexLink) ownership {
	labels, owner := secret.GetLabels(), metav1.GetControllerOf(secret)
	if owner != nil && owner.UID == link.UID {
		return ours
	}
	if labels[v1alpha1.ManagedByLabel] != v1alpha1.ManagedBy || labels[v1alpha1.NameLabel] != link.Name {
		return foreign
	}
	if labels[v1alpha1.UIDLabel] == string(link.UID) {
		return ours
	}
	if owner != nil && owner.Kind != linkKind.Kind {
		return foreign
	}
	return adoptable
}

// ownerOf names the owner of a conflicting Secret, if that can be seen.
func ownerOf(secret metav1.Object) string {
	if name := secret.GetLabels()[v1alpha1.NameLabel]; name != "" && secret.GetLabels()[v1alpha1.ManagedByLabel] == v1alpha1.ManagedBy {
		return "PlexLink " + name
	}
	if owner := metav1.GetControllerOf(secret); owner != nil {
		return fmt.Sprintf("%s %s", owner.Kind, owner.Name)
	}
	for _, field := range secret.GetManagedFields() {
		if field.Manager != "" {
			return field.Manager
		}
	}
	return ""
}

// childLabels returns the labels of the link's Secrets.
func childLabels(link *v1alpha1.PlexLink) map[string]string {
	return map[string]string{
		v1alpha1.ManagedByLabel: v1alpha1.ManagedBy,
		v1alpha1.NameLabel:      link.Name,
		v1alpha1.UIDLabel:       string(link.UID),
	}
}

// ownerReferences returns those of the target Secret. With Retain it has none, and the device Secret never has one: the
// garbage collector deletes dependents during a foreground deletion, and restored ones whose owner has another UID.
func ownerReferences(link *v1alpha1.PlexLink) []metav1.OwnerReference {
	if link.Spec.DeletionPolicy == v1alpha1.DeletionPolicyRetain {
		return nil
	}
	ref := *metav1.NewControllerRef(link, linkKind)
	ref.BlockOwnerDeletion = nil // It would need one more permission, and the finalizer keeps the order anyway.
	return []metav1.OwnerReference{ref}
}

// deviceName returns the name of the Secret that holds the state of a link.
func deviceName(link *v1alpha1.PlexLink) string { return link.Name + v1alpha1.DeviceSecretSuffix }

// targetName returns the name of the Secret that media apps use.
func targetName(link *v1alpha1.PlexLink) string {
	if link.Spec.Secret.Name != "" {
		return link.Spec.Secret.Name
	}
	return link.Name
}

// isDevice reports whether a Secret is a device Secret by its type.
func isDevice(secret *corev1.Secret) bool { return secret.Type == v1alpha1.DeviceSecretType }

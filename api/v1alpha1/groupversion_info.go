// Package v1alpha1 is the API of PlexLink, group plexlink.dev. The comments of its types are the users' reference:
// `kubectl explain plexlink` prints them.
//
// +kubebuilder:object:generate=true
// +groupName=plexlink.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion is the group and version of the API.
	GroupVersion = schema.GroupVersion{Group: "plexlink.dev", Version: "v1alpha1"}

	// SchemeBuilder collects the functions that make the types known to a scheme.
	SchemeBuilder = runtime.NewSchemeBuilder(func(s *runtime.Scheme) error {
		s.AddKnownTypes(GroupVersion, &PlexLink{}, &PlexLinkList{})
		metav1.AddToGroupVersion(s, GroupVersion)
		return nil
	})

	// AddToScheme makes the types of this package known to a scheme.
	AddToScheme = SchemeBuilder.AddToScheme
)

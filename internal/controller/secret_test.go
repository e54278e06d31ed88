package controller

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"plexlink.dev/operator/api/v1alpha1"
)

var errOld = errors.New("connection refused")

func TestActionForTheTargetSecret(t *testing.T) {
	t.Parallel()
	link := &v1alpha1.PlexLink{ObjectMeta: metav1.ObjectMeta{Name: "kometa", Namespace: "media", UID: "1"}}
	s := linkedScope()
	desired, err := desiredSecret(link, s.state)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*corev1.Secret)
		want   secretAction
	}{
		"as desired":                    {func(*corev1.Secret) {}, keepSecret},
		"with a key of others":          {func(s *corev1.Secret) { s.Data["OTHER"] = []byte("x") }, keepSecret},
		"with a label of others":        {func(s *corev1.Secret) { s.Labels["other"] = "x" }, keepSecret},
		"edited":                        {func(s *corev1.Secret) { s.Data["PLEX_URL"] = []byte("x") }, repairSecret},
		"a key deleted":                 {func(s *corev1.Secret) { delete(s.Data, "PLEX_URL") }, repairSecret},
		"its owner reference removed":   {func(s *corev1.Secret) { s.OwnerReferences = nil }, repairSecret},
		"written for another address":   {func(s *corev1.Secret) { s.Annotations[contentHash] = "old" }, applySecret},
		"of another type":               {func(s *corev1.Secret) { s.Type = "example.com/plex" }, recreateSecret},
		"its labels removed":            {func(s *corev1.Secret) { s.Labels = nil }, repairSecret},
		"of an earlier link":            {func(s *corev1.Secret) { s.Labels[v1alpha1.UIDLabel] = "0"; s.OwnerReferences = nil }, recreateSecret},
		"of another link":               {func(s *corev1.Secret) { s.Labels[v1alpha1.NameLabel] = "two"; s.OwnerReferences = nil }, conflictSecret},
		"without labels and owner":      {func(s *corev1.Secret) { s.Labels, s.OwnerReferences = nil, nil }, conflictSecret},
		"of an earlier link, but owned": {func(s *corev1.Secret) { s.Labels[v1alpha1.UIDLabel] = "0"; own(s, "ExternalSecret") }, conflictSecret},
		"being deleted":                 {func(s *corev1.Secret) { s.DeletionTimestamp = &metav1.Time{Time: start} }, awaitDeletion},
	} {
		live := desired.DeepCopy()
		test.change(live)
		if got := actionFor(live, desired, link); got != test.want {
			t.Errorf("%s: got action %d, want %d", name, got, test.want)
		}
	}
	if got := actionFor(nil, desired, link); got != createSecret {
		t.Errorf("absent: got action %d, want %d", got, createSecret)
	}
}

func own(s *corev1.Secret, kind string) {
	yes := true
	s.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: "x", UID: "9", Controller: &yes}}
}

func TestOnlyTheTargetUnderRevokeHasAnOwner(t *testing.T) {
	t.Parallel()
	for policy, want := range map[v1alpha1.DeletionPolicy]int{"": 1, v1alpha1.DeletionPolicyRevoke: 1, v1alpha1.DeletionPolicyRetain: 0} {
		s := linkedScope()
		s.link.Spec.DeletionPolicy = policy
		secret, err := desiredSecret(s.link, s.state)
		if err != nil || len(secret.OwnerReferences) != want {
			t.Errorf("%q: got %v (%v), want %d owner references", policy, secret.OwnerReferences, err, want)
		}
	}
}

func TestTemplateMetadataNeverOverridesOurs(t *testing.T) {
	t.Parallel()
	s := linkedScope()
	s.link.Spec.Secret.Template = &v1alpha1.SecretTemplate{Metadata: v1alpha1.SecretTemplateMetadata{
		Labels: map[string]v1alpha1.LabelValue{v1alpha1.NameLabel: "other", "mine": "x"}}}
	secret, err := desiredSecret(s.link, s.state)
	if err != nil {
		t.Fatal(err)
	}
	want := childLabels(s.link)
	want["mine"] = "x"
	if !maps.Equal(secret.Labels, want) {
		t.Errorf("got labels %v, want %v", secret.Labels, want)
	}
}

func TestOnlyOwnTypesOfSecret(t *testing.T) {
	t.Parallel()
	for secretType, fine := range map[string]bool{
		"": true, "Opaque": true, "example.com/plex": true, "kubernetes.io/service-account-token": false,
		"bootstrap.kubernetes.io/token": false, "plex": false, "plex/x": false,
	} {
		link := &v1alpha1.PlexLink{}
		link.Spec.Secret.Template = &v1alpha1.SecretTemplate{Type: secretType}
		if err := checkType(link); (err == nil) != fine {
			t.Errorf("%q: got %v, want it to be allowed: %t", secretType, err, fine)
		}
	}
}

func TestFailedRequestsForSecretsAreDistinguished(t *testing.T) {
	t.Parallel()
	secrets := schema.GroupResource{Resource: "secrets"}
	kind := schema.GroupKind{Kind: "Secret"}
	invalid := func(path string) error {
		return apierrors.NewInvalid(kind, "x", field.ErrorList{field.Invalid(field.NewPath("metadata", path), "x", "wrong")})
	}
	for name, test := range map[string]struct {
		err           error
		refusal, race bool
	}{
		"forbidden":               {apierrors.NewForbidden(secrets, "x", errOld), true, false},
		"an invalid field":        {invalid("name"), true, false},
		"the uid of another":      {fmt.Errorf("update: %w", invalid("uid")), false, true},
		"a conflict":              {apierrors.NewConflict(secrets, "x", errOld), false, true},
		"it exists already":       {apierrors.NewAlreadyExists(secrets, "x"), false, true},
		"too large":               {apierrors.NewRequestEntityTooLargeError("x"), true, false},
		"a webhook that is down":  {apierrors.NewInternalError(errOld), false, false},
		"no answer":               {errOld, false, false},
		"the namespace is ending": {terminating(secrets), false, false},
	} {
		if got := isRefusal(test.err); got != test.refusal {
			t.Errorf("%s: isRefusal is %t, want %t", name, got, test.refusal)
		}
		if got := isRace(test.err); got != test.race {
			t.Errorf("%s: isRace is %t, want %t", name, got, test.race)
		}
	}
	if got := apiMessage(errOld); got != "the API server did not answer" {
		t.Errorf("got %q for an error without an answer: it would change from one attempt to the next", got)
	}
}

func terminating(resource schema.GroupResource) error {
	err := apierrors.NewForbidden(resource, "x", errOld)
	err.ErrStatus.Code = http.StatusForbidden
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	return err
}

func TestContestedSecretNamesTheManagerThatChangesIt(t *testing.T) {
	t.Parallel()
	s := linkedScope()
	desired, err := desiredSecret(s.link, s.state)
	if err != nil {
		t.Fatal(err)
	}
	live := desired.DeepCopy()
	live.Data["PLEX_URL"] = []byte("x")
	owns := func(manager, key string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, FieldsV1: metav1.NewFieldsV1(`{"f:data":{"f:` + key + `":{}}}`)}
	}
	live.ManagedFields = []metav1.ManagedFieldsEntry{
		owns("plexlink", "PLEX_URL"), owns("sealed-secrets", "PLEX_URL"), owns("reloader", "PLEX_TOKEN"),
	}
	if got := editorsOf(live, desired); got != "sealed-secrets" {
		t.Errorf("got %q, want sealed-secrets", got)
	}
}

func TestCacheHoldsOnlyWhatIsRead(t *testing.T) {
	t.Parallel()
	secret := secretMetadata()
	secret.Name, secret.Namespace, secret.UID, secret.ResourceVersion = "x", "media", "1", "2"
	secret.Labels = map[string]string{v1alpha1.ManagedByLabel: "plexlink", v1alpha1.NameLabel: "x", v1alpha1.UIDLabel: "9", "other": "x"}
	secret.Annotations = map[string]string{"large": "x"}
	secret.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "x"}}
	object, _ := stripSecret(secret)
	object, err := stripSecret(object) // Informers do so with what they list.
	got, ok := object.(*metav1.PartialObjectMetadata)
	if err != nil || !ok {
		t.Fatalf("got %T (%v)", object, err)
	}
	if len(got.Annotations)+len(got.ManagedFields)+len(got.Labels) > 0 || got.Name != "x" || got.UID != "1" || got.ResourceVersion != "2" {
		t.Errorf("got %+v, want name, UID and version only", got.ObjectMeta)
	}
	want := []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: "media", Name: "x"}}}
	if requests := linkOfSecret(t.Context(), got); !slices.Equal(requests, want) {
		t.Errorf("got the requests %v, want %v", requests, want)
	}
	if uids := uidOf(got); !slices.Equal(uids, []string{"9"}) {
		t.Errorf("got the UIDs %q of its link, want 9", uids)
	}
}

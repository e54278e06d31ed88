package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/template"
)

// operator is a Deployment of the image.
func operator(image string, available int32) appsv1.Deployment {
	d := appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "plexlink-system"}}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Image: image}}
	d.Status.AvailableReplicas = available
	return d
}

func forbidden(resource string) error {
	return explain(apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no")))
}

func TestDoctorScreens(t *testing.T) {
	t.Parallel()
	running := []appsv1.Deployment{operator("ghcr.io/plexlink/operator:v0.3.0@sha256:abc", 1)}
	for name, f := range map[string]findings{
		"doctor-unreachable": {link: unreachable(), operators: running, pods: pods()},
		"doctor-stale":       {link: linked(), operators: running, pods: pods(), changed: now.Add(-time.Minute)},
		"doctor-no-operator": {link: func() *v1alpha1.PlexLink {
			link := newLink()
			link.Status = v1alpha1.PlexLinkStatus{ObservedGeneration: -1}
			return link
		}()},
		"doctor-editor": {
			link: linked(), pods: pods(),
			operatorsErr: forbidden("deployments"), changedErr: forbidden("secrets"),
		},
		"doctor-nothing-allowed": {
			link: linked(), podsErr: forbidden("pods"), operatorsErr: forbidden("deployments"),
			changedErr: forbidden("secrets"), missingErr: forbidden("openapi"),
		},
		"doctor-old-crd": {link: linked(), missing: []string{"spec.account.uuid"}, operators: []appsv1.Deployment{operator("operator", 0)}, pods: pods()[:1]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f.now = now
			var lines []string
			for _, s := range f.checks() {
				lines = append(lines, s.lines(80, false)...)
			}
			golden(t, name, strings.Join(lines, "\n"))
		})
	}
}

func TestDoctorExitCodes(t *testing.T) {
	t.Parallel()
	running := []appsv1.Deployment{operator("operator:v0.3.0", 1)}
	for name, c := range map[string]struct {
		f    findings
		want int
	}{
		"all is well":             {findings{link: linked(), operators: running, pods: pods()}, exitReady},
		"may not see all":         {findings{link: linked(), operatorsErr: forbidden("deployments"), podsErr: forbidden("pods")}, exitReady},
		"a Pod is too old":        {findings{link: linked(), operators: running, pods: pods(), changed: now}, exitPerson},
		"no operator":             {findings{link: linked(), pods: pods()}, exitPerson},
		"PIN open":                {findings{link: awaiting(linkURL), operators: running}, exitPerson},
		"the operator is working": {findings{link: unreachable(), operators: running}, exitError},
	} {
		p := &plugin{out: io.Discard, output: "json"}
		if err := p.diagnose(c.f); err != nil || p.code != c.want {
			t.Errorf("%s: exit code = %d, %v, want %d", name, p.code, err, c.want)
		}
	}
}

func TestDoctorReadsOnlyTheMetadataOfTheSecret(t *testing.T) {
	t.Parallel()
	answers := map[string]any{
		"/apis/plexlink.dev/v1alpha1/namespaces/media/plexlinks/kometa": linked(),
		"/api/v1/namespaces/media/secrets/kometa": &metav1.PartialObjectMetadata{
			TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"},
			ObjectMeta: metav1.ObjectMeta{Name: "kometa", CreationTimestamp: metav1.NewTime(time.Now().Add(-9 * time.Hour)), ManagedFields: []metav1.ManagedFieldsEntry{
				{Manager: v1alpha1.ManagedBy, Time: &metav1.Time{Time: time.Now().Add(-5 * time.Hour)}},
				{Manager: "reloader", Time: &metav1.Time{Time: time.Now()}},
			}},
		},
	}
	var accepted atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/secrets") {
			accepted.Store(r.Method + " " + r.Header.Get("Accept"))
		}
		w.Header().Set("Content-Type", "application/json")
		if answers[r.URL.Path] == nil {
			w.WriteHeader(http.StatusForbidden)
		}
		_ = json.NewEncoder(w).Encode(answers[r.URL.Path])
	}))
	t.Cleanup(server.Close)
	var out, errOut strings.Builder
	run(t.Context(), []string{"doctor", "kometa", "-n", "media", "--kubeconfig", kubeconfigFor(t, server.URL)}, &out, &errOut)
	if want := "the Secret last changed 5h ago"; !strings.Contains(out.String(), want) {
		t.Errorf("doctor does not print %q:\n%s%s", want, out.String(), errOut.String())
	}
	got, _ := accepted.Load().(string)
	method, kinds, _ := strings.Cut(got, " ")
	for kind := range strings.SplitSeq(kinds, ",") {
		if method != http.MethodGet || !strings.Contains(kind, "as=PartialObjectMetadata") {
			t.Errorf("the Secret was asked for with %s, want its metadata only", got)
		}
	}
}

func TestUsesOfASecretAreFoundInEveryPartOfAPod(t *testing.T) {
	t.Parallel()
	ref, yes := corev1.LocalObjectReference{Name: "kometa"}, true
	projected := &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{LocalObjectReference: ref, Optional: &yes}}}}
	env := []corev1.EnvVar{
		{Name: "PLAIN", Value: "kometa"},
		{Name: "TOKEN", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: ref, Optional: &yes}}},
	}
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{{Name: "init", Env: env}},
		Containers:     []corev1.Container{{Name: "app", EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: ref}}}}},
		Volumes: []corev1.Volume{
			{Name: "other", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "other"}}},
			{Name: "plex", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "kometa"}}},
			{Name: "both", VolumeSource: corev1.VolumeSource{Projected: projected}},
		},
	}}
	var got []string
	for _, u := range usesOf(pod, "kometa") {
		if u.optional {
			u.part += " (optional)"
		}
		got = append(got, u.part)
	}
	want := []string{"volume plex", "volume both (optional)", "container init (optional)", "container app"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("got other uses (-want +got):\n%s", diff)
	}
}

func TestOptionalSecretIsAWarning(t *testing.T) {
	t.Parallel()
	list, yes := pods()[1:2], true
	list[0].Spec.Volumes[0].Secret.Optional = &yes
	got := podSteps(list, linked(), time.Time{}, nil)
	want := []step{{warning, "Pod", "kometa-1 is ContainerCreating; volume plex has optional: true, so it starts without the Secret too"}}
	if !slices.Equal(got, want) {
		t.Errorf("podSteps = %q, want %q", got, want)
	}
}

func TestOperatorVersionIsTheTagOfItsImage(t *testing.T) {
	t.Parallel()
	for image, want := range map[string]string{
		"ghcr.io/plexlink/operator:v0.3.0":            "v0.3.0",
		"ghcr.io/plexlink/operator:v0.3.0@sha256:abc": "v0.3.0",
		"localhost:5000/operator":                     "an unknown version",
		"ghcr.io/plexlink/operator@sha256:abc":        "an unknown version",
	} {
		d := operator(image, 1)
		if got := operatorVersion(&d); got != want {
			t.Errorf("operatorVersion of %s = %q, want %q", image, got, want)
		}
	}
}

func TestFieldsThatTheCRDLacksAreNamed(t *testing.T) {
	t.Parallel()
	type object = map[string]any
	type inner struct {
		Old string `json:"old"`
		New string `json:"new,omitempty"`
	}
	type outer struct {
		Spec  *inner `json:"spec"`
		Added string `json:"added"`
	}
	served := object{"properties": object{"spec": object{"properties": object{"old": object{}}}}}
	if got, want := missingIn(served, reflect.TypeFor[outer](), ""), []string{"spec.new", "added"}; !slices.Equal(got, want) {
		t.Errorf("missingIn = %q, want %q", got, want)
	}
}

func TestKeysOfTheSecretAreThoseOfTheSpec(t *testing.T) {
	t.Parallel()
	plain := &v1alpha1.PlexLink{}
	for key := range template.Default() {
		if !strings.Contains(secretKeys(plain), key) {
			t.Errorf("secretKeys of a link without a template = %q, want %s in it", secretKeys(plain), key)
		}
	}
	if got, want := secretKeys(newLink()), "KOMETA_PLEX_TOKEN, KOMETA_PLEX_URL"; got != want {
		t.Errorf("secretKeys = %q, want %q", got, want)
	}
}

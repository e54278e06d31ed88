package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

// The paths of what the doctor reads.
const (
	linkPath      = "/apis/plexlink.dev/v1alpha1/namespaces/media/plexlinks/kometa"
	operatorsPath = "/apis/apps/v1/deployments"
	podsPath      = "/api/v1/namespaces/media/pods"
	secretPath    = "/api/v1/namespaces/media/secrets/kometa"
	openAPIPath   = "/openapi/v3/apis/plexlink.dev/v1alpha1"
)

// answers is what an API server answers; it forbids everything else.
type answers map[string]any

func (a answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if a[r.URL.Path] == nil {
		w.WriteHeader(http.StatusForbidden)
	}
	_ = json.NewEncoder(w).Encode(a[r.URL.Path])
}

// openAPI is the document of the API server with the CRD of this repository, without a field of spec.account.
func openAPI(t *testing.T, without string) any {
	t.Helper()
	text, err := os.ReadFile("../../config/crd/plexlink_v1alpha1.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	type object = map[string]any
	var schema object
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	account := schema
	for _, field := range []string{"spec", "account"} {
		account = account["properties"].(object)[field].(object)
	}
	delete(account["properties"].(object), without)
	return object{"components": object{"schemas": object{"dev.plexlink.v1alpha1.PlexLink": schema}}}
}

// secretOf is the metadata of a Secret that PlexLink wrote at a time.
func secretOf(changed time.Time) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		ObjectMeta: metav1.ObjectMeta{Name: "kometa", CreationTimestamp: metav1.NewTime(changed.Add(-time.Hour)), ManagedFields: []metav1.ManagedFieldsEntry{
			{Manager: v1alpha1.ManagedBy, Time: &metav1.Time{Time: changed}},
			{Manager: "reloader", Time: &metav1.Time{Time: changed.Add(time.Hour)}},
		}},
	}
}

func TestDoctorScreens(t *testing.T) {
	t.Parallel()
	running := appsv1.DeploymentList{Items: []appsv1.Deployment{operator("ghcr.io/plexlink/operator:v0.3.0@sha256:abc", 1)}}
	full, list := openAPI(t, ""), corev1.PodList{Items: pods()}
	unseen := newLink()
	unseen.Status = v1alpha1.PlexLinkStatus{ObservedGeneration: -1}
	for name, c := range map[string]struct {
		link *v1alpha1.PlexLink
		answers
	}{
		"doctor-unreachable":     {unreachable(), answers{openAPIPath: full, operatorsPath: running, podsPath: list}},
		"doctor-stale":           {linked(), answers{openAPIPath: full, operatorsPath: running, podsPath: list, secretPath: secretOf(now.Add(-time.Minute))}},
		"doctor-no-operator":     {unseen, answers{openAPIPath: full, operatorsPath: appsv1.DeploymentList{}, podsPath: corev1.PodList{}}},
		"doctor-editor":          {linked(), answers{openAPIPath: full, podsPath: list}},
		"doctor-nothing-allowed": {linked(), nil},
		"doctor-old-crd": {linked(), answers{
			openAPIPath: openAPI(t, "uuid"), operatorsPath: appsv1.DeploymentList{Items: []appsv1.Deployment{operator("operator", 0)}},
			podsPath: corev1.PodList{Items: pods()[:1]}, secretPath: secretOf(now.Add(-2 * time.Hour)),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(c.answers)
			t.Cleanup(server.Close)
			var lines []string
			for _, s := range connectTo(t, server.URL).checks(t.Context(), c.link, now) {
				lines = append(lines, s.lines(80)...)
			}
			golden(t, name, plain(strings.Join(lines, "\n")))
		})
	}
}

// connectTo connects to an API server as the plugin does in the namespace media.
func connectTo(t *testing.T, url string) *cluster {
	t.Helper()
	p := &plugin{}
	root := p.rootCommand()
	if err := root.ParseFlags([]string{"-n", "media", "--kubeconfig", kubeconfigFor(t, url)}); err != nil {
		t.Fatal(err)
	}
	c, err := p.connect()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDoctorExitCodes(t *testing.T) {
	t.Parallel()
	running := appsv1.DeploymentList{Items: []appsv1.Deployment{operator("operator:v0.3.0", 1)}}
	list, written := corev1.PodList{Items: pods()}, secretOf(now.Add(-2*time.Hour))
	for name, c := range map[string]struct {
		answers
		want int
	}{
		"all is well":             {answers{linkPath: linked(), operatorsPath: running, podsPath: list, secretPath: written}, exitReady},
		"may not see all":         {answers{linkPath: linked()}, exitReady},
		"a Pod is too old":        {answers{linkPath: linked(), operatorsPath: running, podsPath: list, secretPath: secretOf(now)}, exitPerson},
		"no operator":             {answers{linkPath: linked(), operatorsPath: appsv1.DeploymentList{}}, exitPerson},
		"PIN open":                {answers{linkPath: awaiting(linkURL), operatorsPath: running}, exitPerson},
		"the operator is working": {answers{linkPath: unreachable(), operatorsPath: running}, exitError},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(c.answers)
			t.Cleanup(server.Close)
			code, out, errOut := invoke(t, "doctor", "kometa", "-o", "json", "-n", "media", "--kubeconfig", kubeconfigFor(t, server.URL))
			if code != c.want || errOut != "" {
				t.Errorf("exit code = %d, want %d; it prints:\n%s%s", code, c.want, out, errOut)
			}
		})
	}
}

func TestDoctorReadsOnlyTheMetadataOfTheSecret(t *testing.T) {
	t.Parallel()
	var accepted atomic.Value
	all := answers{linkPath: linked(), secretPath: secretOf(time.Now().Add(-5 * time.Hour))}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/secrets") {
			accepted.Store(r.Method + " " + r.Header.Get("Accept"))
		}
		all.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	_, out, errOut := invoke(t, "doctor", "kometa", "-n", "media", "--kubeconfig", kubeconfigFor(t, server.URL))
	if want := "the Secret last changed 5h ago"; !strings.Contains(out, want) {
		t.Errorf("doctor does not print %q:\n%s%s", want, out, errOut)
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
	got, optional := usesOf(pod, "kometa")
	for i, part := range got {
		if optional[part] {
			got[i] += " (optional)"
		}
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
	got, _ := podStep(&list[0], "kometa", time.Time{})
	want := step{warning, "Pod", "kometa-1 is ContainerCreating; volume plex has optional: true, so it starts without the Secret too"}
	if got != want {
		t.Errorf("podStep = %q, want %q", got, want)
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
	type inner struct {
		Old string `json:"old"`
		New string `json:"new,omitempty"`
	}
	type outer struct {
		Spec  *inner `json:"spec"`
		Added string `json:"added"`
	}
	served := crdSchema{Properties: map[string]crdSchema{"spec": {Properties: map[string]crdSchema{"old": {}}}}}
	if got, want := served.missing(reflect.TypeFor[outer](), ""), []string{"spec.new", "added"}; !slices.Equal(got, want) {
		t.Errorf("missing = %q, want %q", got, want)
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

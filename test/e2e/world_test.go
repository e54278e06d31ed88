//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
)

// install installs or upgrades the release in the system namespace, and waits until it works.
func install(t *testing.T, chart string, values ...string) {
	t.Helper()
	repository, tag, _ := cutLast(cluster.image, ":")
	args := []string{
		"upgrade", "--install", release, chart, "--namespace", system, "--wait", "--timeout", patience.String(),
		"--set", "image.repository=" + repository, "--set-string", "image.tag=" + tag, "--set", "image.pullPolicy=Never",
		"--set", "plex.url=" + cluster.plexURL,
	}
	for _, value := range values {
		args = append(args, "--set", value)
	}
	do(t, "helm", args...)
}

func cutLast(s, separator string) (before, after string, found bool) {
	i := strings.LastIndex(s, separator)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(separator):], true
}

// newNamespace creates a namespace with the restricted Pod security level.
func newNamespace(t *testing.T, name string) {
	t.Helper()
	do(t, "kubectl", "create", "namespace", name)
	do(t, "kubectl", "label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
}

// newLink creates a PlexLink with an empty spec.
func newLink(t *testing.T, namespace, name string) {
	t.Helper()
	link := &v1alpha1.PlexLink{}
	link.Namespace, link.Name = namespace, name
	if err := cluster.Create(t.Context(), link); err != nil {
		t.Fatal(err)
	}
}

func linkOf(t *testing.T, namespace, name string) *v1alpha1.PlexLink {
	t.Helper()
	return get(t, namespace, name, &v1alpha1.PlexLink{})
}

// pinOf waits for the PIN of a PlexLink.
func pinOf(t *testing.T, namespace, name string) (pin string) {
	t.Helper()
	eventually(t, "PlexLink "+name+" shows a PIN", func() error {
		link := linkOf(t, namespace, name)
		if link.Status.PIN == nil {
			return fmt.Errorf("none, conditions %v", link.Status.Conditions)
		}
		pin = link.Status.PIN.Code
		return nil
	})
	return pin
}

// becomesLinked waits until a PlexLink is Ready.
func becomesLinked(t *testing.T, namespace, name string) {
	t.Helper()
	eventually(t, "PlexLink "+name+" is Linked", func() error {
		link := linkOf(t, namespace, name)
		ready := meta.FindStatusCondition(link.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Reason != v1alpha1.ReasonLinked {
			return fmt.Errorf("%v", ready)
		}
		return nil
	})
}

// managers returns the operator's Pods that are not being deleted.
func managers(t *testing.T) []corev1.Pod {
	t.Helper()
	var pods corev1.PodList
	if err := cluster.List(t.Context(), &pods, client.InNamespace(system), client.MatchingLabels{"control-plane": "controller-manager"}); err != nil {
		t.Fatal(err)
	}
	var alive []corev1.Pod
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp.IsZero() && pod.Status.Phase != corev1.PodFailed && pod.Status.Phase != corev1.PodSucceeded {
			alive = append(alive, pod)
		}
	}
	return alive
}

// leader returns the Pod that holds the Lease, or "".
func leader(t *testing.T) string {
	t.Helper()
	var lease coordinationv1.Lease
	err := cluster.Get(t.Context(), client.ObjectKey{Namespace: system, Name: release}, &lease)
	switch {
	case apierrors.IsNotFound(err) || err == nil && lease.Spec.HolderIdentity == nil:
		return ""
	case err != nil:
		t.Fatal(err)
	}
	pod, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_") // a random part follows
	return pod
}

// waits waits until the container of a Pod waits for that reason.
func waits(t *testing.T, namespace, pod, reason string) {
	t.Helper()
	eventually(t, "Pod "+pod+" waits: "+reason, func() error {
		statuses := get(t, namespace, pod, &corev1.Pod{}).Status.ContainerStatuses
		if len(statuses) != 1 || statuses[0].State.Waiting == nil || statuses[0].State.Waiting.Reason != reason {
			return fmt.Errorf("%v", statuses)
		}
		return nil
	})
}

// isReady waits until a Pod is ready.
func isReady(t *testing.T, namespace, pod string) {
	t.Helper()
	eventually(t, "Pod "+pod+" is ready", func() error {
		status := get(t, namespace, pod, &corev1.Pod{}).Status
		for _, condition := range status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("%v", status.Conditions)
	})
}

// vanishes waits until an object is gone.
func vanishes(t *testing.T, object client.Object, namespace, name string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%T %s is gone", object, name), func() error {
		err := cluster.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, object)
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		default:
			return fmt.Errorf("it has the finalizers %v and the owners %v", object.GetFinalizers(), object.GetOwnerReferences())
		}
	})
}

// previousChart is the chart as an earlier version, until one is released: the same but for its number.
func previousChart(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(chart)); err != nil {
		t.Fatal(err)
	}
	file := dir + "/Chart.yaml"
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(raw), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "version:") {
			lines[i] = "version: 0.0.1"
		}
	}
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

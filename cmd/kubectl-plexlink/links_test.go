package main

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plexlink.dev/operator/api/v1alpha1"
)

// now is 14:21 before the PINs of the tests expire.
var now = time.Date(2026, 11, 25, 5, 24, 39, 0, time.UTC)

func newLink() *v1alpha1.PlexLink {
	link := &v1alpha1.PlexLink{}
	if err := recipe("kometa", link); err != nil {
		panic(err)
	}
	link.Namespace, link.Generation = "media", 1
	link.Status.ObservedGeneration = 1
	return link
}

func set(link *v1alpha1.PlexLink, kind string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&link.Status.Conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message})
}

// awaiting is a link whose PIN is open.
func awaiting(linkURL string) *v1alpha1.PlexLink {
	link := newLink()
	message := "Enter 7KQX at https://plex.tv/link before 05:39 UTC"
	set(link, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAwaitingLink, message)
	set(link, v1alpha1.ConditionAuthorized, metav1.ConditionFalse, v1alpha1.ReasonAwaitingLink, message)
	set(link, v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonAwaitingLink, message)
	link.Status.PIN = &v1alpha1.PINStatus{Code: "7KQX", LinkURL: linkURL, ExpirationTime: metav1.NewTime(now.Add(14*time.Minute + 21*time.Second))}
	return link
}

// following is a link that takes the account of another one, which is not linked.
func following() *v1alpha1.PlexLink {
	link := newLink()
	link.Name = "tautulli"
	link.Spec.Account.LinkRef = &v1alpha1.PlexLinkReference{Name: "kometa"}
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionAuthorized} {
		set(link, kind, metav1.ConditionFalse, v1alpha1.ReasonAwaitingAccount, "Waiting for PlexLink kometa to be linked")
	}
	return link
}

// linked is a link that is Ready.
func linked() *v1alpha1.PlexLink {
	link := newLink()
	set(link, v1alpha1.ConditionAuthorized, metav1.ConditionTrue, v1alpha1.ReasonAuthorized, "The PIN was entered by alice")
	set(link, v1alpha1.ConditionServerResolved, metav1.ConditionTrue, v1alpha1.ReasonProven, "My Plex Server answers at http://192.168.1.10:32400")
	set(link, v1alpha1.ConditionSecretSynced, metav1.ConditionTrue, v1alpha1.ReasonSynced, "Secret kometa is up to date")
	set(link, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonLinked,
		"Secret kometa has a token for My Plex Server at http://192.168.1.10:32400")
	link.Status.Server = &v1alpha1.ServerStatus{Name: "My Plex Server", Location: v1alpha1.LocationLocal}
	link.Status.SecretName = "kometa"
	last := metav1.NewTime(now.Add(-5 * time.Minute))
	link.Status.LastRefreshTime = &last
	return link
}

// unreachable is a link whose server has no proven address.
func unreachable() *v1alpha1.PlexLink {
	link := newLink()
	message := "Could not verify My Plex Server at any of its 2 addresses: http://192.168.1.10:32400 unreachable; " +
		"http://172.17.0.1:32400 is another server; spec.server.locations (Cluster, Local) leaves out 1 more"
	set(link, v1alpha1.ConditionAuthorized, metav1.ConditionTrue, v1alpha1.ReasonAuthorized, "The PIN was entered by alice")
	set(link, v1alpha1.ConditionServerResolved, metav1.ConditionFalse, v1alpha1.ReasonServerUnreachable, message)
	set(link, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonServerUnreachable, message)
	set(link, v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonServerUnreachable, message)
	return link
}

// pods are three Pods of the namespace, the first two of which use the Secret.
func pods() []corev1.Pod {
	reads := []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "kometa"}}}}
	started := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(now.Add(-time.Hour))}}
	return []corev1.Pod{
		{
			ObjectMeta: metav1.ObjectMeta{Name: "kometa-0"},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", EnvFrom: reads}}},
			Status: corev1.PodStatus{
				Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "app", State: started}},
			},
		},
		{
			ObjectMeta: metav1.ObjectMeta{Name: "kometa-1"},
			Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "plex", VolumeSource: corev1.VolumeSource{
				Secret: &corev1.SecretVolumeSource{SecretName: "kometa"},
			}}}},
			Status: corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{
				{Name: "app", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}},
			}},
		},
		{ObjectMeta: metav1.ObjectMeta{Name: "radarr-0"}},
	}
}

// podsOf are the steps of the Pods that use the Secret of a link.
func podsOf(link *v1alpha1.PlexLink, changed time.Time) []step {
	var steps []step
	for _, pod := range pods() {
		if s, uses := podStep(&pod, secretName(link), changed); uses {
			steps = append(steps, s)
		}
	}
	return steps
}

package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/template"
)

// secretName is the Secret of a link, whether it exists yet or not.
func secretName(link *v1alpha1.PlexLink) string { return cmp.Or(link.Spec.Secret.Name, link.Name) }

// secretKeys lists the keys of the Secret of a link as its spec has them: the Secret is not read.
func secretKeys(link *v1alpha1.PlexLink) string {
	if t := link.Spec.Secret.Template; t != nil && len(t.Data) > 0 {
		return strings.Join(slices.Sorted(maps.Keys(t.Data)), ", ")
	}
	return strings.Join(slices.Sorted(maps.Keys(template.Default())), ", ")
}

// use is how a part of a Pod uses a Secret.
type use struct {
	// part is a volume, or a container that reads its environment.
	part     string
	optional bool
	// started is when that environment was read; zero for a volume and for a container that is not running.
	started time.Time
}

// usesOf lists how a Pod uses a Secret.
func usesOf(pod *corev1.Pod, secret string) []use {
	var uses []use
	add := func(part, name string, optional *bool, started time.Time) {
		if name == secret {
			uses = append(uses, use{part, optional != nil && *optional, started})
		}
	}
	for _, volume := range pod.Spec.Volumes {
		if s := volume.Secret; s != nil {
			add("volume "+volume.Name, s.SecretName, s.Optional, time.Time{})
		}
		for _, source := range cmp.Or(volume.Projected, &corev1.ProjectedVolumeSource{}).Sources {
			if s := source.Secret; s != nil {
				add("volume "+volume.Name, s.Name, s.Optional, time.Time{})
			}
		}
	}
	statuses := slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		var started time.Time
		for _, status := range statuses {
			if status.Name == container.Name && status.State.Running != nil {
				started = status.State.Running.StartedAt.Time
			}
		}
		for _, from := range container.EnvFrom {
			if s := from.SecretRef; s != nil {
				add("container "+container.Name, s.Name, s.Optional, started)
			}
		}
		for _, env := range container.Env {
			if s := cmp.Or(env.ValueFrom, &corev1.EnvVarSource{}).SecretKeyRef; s != nil {
				add("container "+container.Name, s.Name, s.Optional, started)
			}
		}
	}
	return uses
}

// podState is what kubectl get pods shows as STATUS, nearly.
func podState(pod *corev1.Pod) string {
	if pod.DeletionTimestamp != nil {
		return "Terminating"
	}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if waiting := status.State.Waiting; waiting != nil && waiting.Reason != "" {
			return waiting.Reason
		}
	}
	return string(pod.Status.Phase)
}

// podSteps tells the state of the Pods that use the Secret of a link. Without the time at which it changed, none is too old.
func podSteps(pods []corev1.Pod, link *v1alpha1.PlexLink, changed time.Time, err error) []step {
	if err != nil {
		return []step{{unknown, "Pods", "cannot be listed: " + reason(err, "list pods")}}
	}
	var steps []step
	for i := range pods {
		pod := &pods[i]
		uses := usesOf(pod, secretName(link))
		if len(uses) == 0 {
			continue
		}
		s := step{done, "Pod", fmt.Sprintf("%s is %s", pod.Name, podState(pod))}
		if pod.Status.Phase == corev1.PodPending {
			s.mark = pending
		}
		for _, u := range uses {
			if u.optional {
				s.mark = warning
				s.text += fmt.Sprintf("; %s has optional: true, so it starts without the Secret too", u.part)
			}
			if !u.started.IsZero() && u.started.Before(changed) {
				s.mark = warning
				s.text += fmt.Sprintf("; %s read its environment before the Secret changed, restart it", u.part)
			}
		}
		steps = append(steps, s)
	}
	if len(steps) == 0 {
		return []step{{unknown, "Pods", "none in this namespace uses Secret " + secretName(link)}}
	}
	return steps
}

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"plexlink.dev/operator/api/v1alpha1"
)

// usesOf returns the parts of a Pod that use a Secret, and whether it is optional for them: volumes, and containers with their
// environment.
func usesOf(pod *corev1.Pod, secret string) (parts []string, optional map[string]bool) {
	optional = map[string]bool{}
	add := func(part, name string, without *bool) {
		if name == secret {
			others, used := optional[part]
			parts, optional[part] = append(parts, part), ptr.Deref(without, false) && (others || !used)
		}
	}
	for _, v := range pod.Spec.Volumes {
		if s := v.Secret; s != nil {
			add("volume "+v.Name, s.SecretName, s.Optional)
		}
		for _, source := range ptr.Deref(v.Projected, corev1.ProjectedVolumeSource{}).Sources {
			if s := source.Secret; s != nil {
				add("volume "+v.Name, s.Name, s.Optional)
			}
		}
	}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, from := range c.EnvFrom {
			if s := from.SecretRef; s != nil {
				add("container "+c.Name, s.Name, s.Optional)
			}
		}
		for _, env := range c.Env {
			if s := ptr.Deref(env.ValueFrom, corev1.EnvVarSource{}).SecretKeyRef; s != nil {
				add("container "+c.Name, s.Name, s.Optional)
			}
		}
	}
	return slices.Compact(parts), optional
}

// podSteps returns the state of the Pods that use the Secret of a link. If the time of its last change is unknown, none is too
// old.
func (c *cluster) podSteps(ctx context.Context, link *v1alpha1.PlexLink, changed time.Time) []step {
	var list corev1.PodList
	if err := send(ctx, c.Get().AbsPath("/api/v1").Namespace(c.namespace).Resource("pods"), &list); err != nil {
		return []step{{unknown, "Pods", "cannot be listed: " + reason(err, "list pods")}}
	}
	var steps []step
	for i := range list.Items {
		if s, uses := podStep(&list.Items[i], secretName(link), changed); uses {
			steps = append(steps, s)
		}
	}
	if len(steps) == 0 {
		return []step{{unknown, "Pods", "none in this namespace uses Secret " + secretName(link)}}
	}
	return steps
}

// podStep returns the state of a Pod, and whether it uses a Secret.
func podStep(pod *corev1.Pod, secret string, changed time.Time) (s step, uses bool) {
	state, outdated := string(pod.Status.Phase), map[string]bool{}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		state = cmp.Or(ptr.Deref(status.State.Waiting, corev1.ContainerStateWaiting{}).Reason, state)
		running := status.State.Running
		outdated["container "+status.Name] = running != nil && running.StartedAt.Time.Before(changed)
	}
	if pod.DeletionTimestamp != nil {
		state = "Terminating"
	}
	s = step{done, "Pod", pod.Name + " is " + state}
	if pod.Status.Phase == corev1.PodPending {
		s.Result = pending
	}
	parts, optional := usesOf(pod, secret)
	for _, part := range parts {
		if optional[part] {
			s.Result = warning
			s.Message += fmt.Sprintf("; %s has optional: true, so it starts without the Secret too", part)
		}
		if outdated[part] {
			s.Result = warning
			s.Message += fmt.Sprintf("; %s read its environment before the Secret changed, restart it", part)
		}
	}
	return s, len(parts) > 0
}

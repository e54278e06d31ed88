package main

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plexlink.dev/operator/api/v1alpha1"
)

// The exit codes.
const (
	exitReady   = 0 // All PlexLinks are Ready.
	exitError   = 1 // The command failed, or the operator is still working: try again later.
	exitPerson  = 3 // A person has to do something, such as entering a PIN.
	exitStalled = 4 // Nothing goes on until a person changes something.
)

// exitCode is what the state of PlexLinks means for a script: the worst of them counts.
func exitCode(links ...v1alpha1.PlexLink) int {
	worst := exitReady
	for i := range links {
		worst = max(worst, exitCodeOf(&links[i]))
	}
	return worst
}

func exitCodeOf(link *v1alpha1.PlexLink) int {
	r := ready(link)
	switch {
	case link.Status.ObservedGeneration != link.Generation:
		return exitError
	case r.Status == metav1.ConditionTrue:
		return exitReady
	case condition(link, v1alpha1.ConditionStalled).Status == metav1.ConditionTrue:
		return exitStalled
	case link.Status.PIN != nil, r.Reason == v1alpha1.ReasonSuspended, r.Reason == v1alpha1.ReasonImportUnavailable,
		r.Reason == v1alpha1.ReasonAccountUnavailable, r.Reason == v1alpha1.ReasonAwaitingAccount,
		r.Reason == v1alpha1.ReasonTokenRejected, r.Reason == v1alpha1.ReasonSecretContested:
		return exitPerson
	}
	return exitError
}

package controller

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"plexlink.dev/operator/api/v1alpha1"
)

// notice is what happened, to be told as an event on the PlexLink.
type notice struct {
	kind    string // corev1.EventTypeNormal or corev1.EventTypeWarning
	reason  string
	action  string
	message string
}

// maxNote is the longest note that the API server takes; a longer one is lost without a word.
const maxNote = 1024

// emit tells what happened. It is the one place that writes events.
func (r *Reconciler) emit(link *v1alpha1.PlexLink, n notice) {
	message := n.message
	if len(message) > maxNote {
		message = truncate(message, maxNote)
	}
	r.Recorder.Eventf(link, nil, n.kind, n.reason, n.action, "%s", message)
}

func pinIssued(code, entryURL string, expires time.Time) notice {
	return notice{corev1.EventTypeNormal, "PINIssued", "CreatePIN", enterPIN(code, entryURL, expires)}
}

func pinEntered() notice {
	return notice{corev1.EventTypeNormal, "Authorized", "CheckPIN", "The PIN was entered; the token is stored"}
}

func serverChosen(s *v1alpha1.ServerStatus) notice {
	return notice{corev1.EventTypeNormal, "ServerChosen", "ResolveServer", fmt.Sprintf("%s is used at %s", s.Name, s.URI)}
}

func secretWritten(link *v1alpha1.PlexLink, name string) notice {
	return notice{corev1.EventTypeNormal, "SecretCreated", "WriteSecret",
		fmt.Sprintf("The Secret %s is there; apps can mount it in namespace %s", name, link.Namespace)}
}

// secretChanged tells a repair from a change that PlexLink makes itself: only the latter changes the content hash.
func secretChanged(live, desired *corev1.Secret) notice {
	if live.Annotations[contentHash] == desired.Annotations[contentHash] {
		return notice{corev1.EventTypeNormal, "SecretRepaired", "WriteSecret",
			fmt.Sprintf("The Secret %s had been edited and is as it should be again; to change it, change spec.secret", live.Name)}
	}
	return notice{corev1.EventTypeNormal, "SecretUpdated", "WriteSecret", fmt.Sprintf("The Secret %s has new content", live.Name)}
}

func signedOut() notice {
	return notice{corev1.EventTypeNormal, "SignedOut", "SignOut", "The device is signed out at plex.tv; its token is invalid now"}
}

func signOutGivenUp() notice {
	return notice{corev1.EventTypeWarning, "SignOutFailed", "SignOut",
		"plex.tv did not sign the device out within five minutes, so it was given up: " +
			"remove the device under Authorized Devices at https://app.plex.tv/desktop/#!/settings/devices/all"}
}

// problem tells that the link is not, or no longer, as it should be. The message says what to do.
func problem(reason, message string) notice {
	return notice{corev1.EventTypeWarning, reason, "Reconcile", message}
}

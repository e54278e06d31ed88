package controller

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
)

// notice is an event to record on the PlexLink.
type notice struct {
	kind    string // corev1.EventTypeNormal or corev1.EventTypeWarning
	reason  string
	action  string
	message string
}

// reasonSignOutFailed is the reason of events about tokens that may still be valid.
const reasonSignOutFailed = "SignOutFailed"

// maxNote is the longest note that the API server takes; a longer one is lost without an error.
const maxNote = 1024

// emit records an event and logs it, so that the log shows the history of a link. Nothing else records events.
func (r *Reconciler) emit(ctx context.Context, link *v1alpha1.PlexLink, n notice) {
	message := truncate(n.message, maxNote)
	log.FromContext(ctx).Info("Recorded event", "type", n.kind, "reason", n.reason, "message", message)
	r.Recorder.Eventf(link, nil, n.kind, n.reason, n.action, "%s", message)
}

func normal(reason, action, message string) notice {
	return notice{corev1.EventTypeNormal, reason, action, message}
}

func warning(reason, action, message string) notice {
	return notice{corev1.EventTypeWarning, reason, action, message}
}

// problem warns that the link is not, or no longer, as it should be. The message says what to do.
func problem(reason, message string) notice { return warning(reason, "Reconcile", message) }

func pinIssued(code, entryURL string, expires time.Time) notice {
	return normal("PINIssued", "CreatePIN", enterPIN(code, entryURL, expires))
}

func pinEntered() notice {
	return normal("PINEntered", "CheckPIN", "The PIN was entered; stored its token")
}

func followed(leader string) notice {
	return normal("Followed", "CheckPIN", fmt.Sprintf("Entered the PIN with the token of PlexLink %s; stored its token", leader))
}

func claimRefused(leader string, pin openPIN, entryURL string) notice {
	return warning("ClaimRefused", "EnterPIN",
		notFollowed(leader, pin.Refused)+"; "+enterPIN(pin.Code, entryURL, pin.ExpirationTime))
}

func wrongAccount(stranger string, wanted v1alpha1.AccountSpec) notice {
	return warning(v1alpha1.ReasonWrongAccount, "CheckPIN", strangerEntered(stranger, wanted)+"; signing its token out")
}

func adopted(account plex.Account) notice {
	return normal("Adopted", "Adopt", fmt.Sprintf("Took over the token of %s from an earlier PlexLink of this name", accountName(account)))
}

func imported(secret string, account plex.Account) notice {
	return normal("Imported", "Import", fmt.Sprintf("Imported the token of %s from Secret %s", accountName(account), secret))
}

func requestsIgnored(annotations string) notice {
	return warning("RequestIgnored", "Reconcile", fmt.Sprintf(
		"Ignored %s: a request may have at most %d characters; set a shorter value", annotations, v1alpha1.MaxRequestLength))
}

func serverChosen(s *v1alpha1.ServerStatus) notice {
	return normal("ServerChosen", "ResolveServer", fmt.Sprintf("Using %s at %s", s.Name, s.URL))
}

func podAddress(url string) notice {
	return warning("PodAddress", "ResolveServer", fmt.Sprintf("%s is the address of a Pod%s", url, podHint))
}

func serverReplaced(before, after plex.Server, since time.Time) notice {
	return normal("ServerReplaced", "ResolveServer", fmt.Sprintf(
		"%s (%s) has not answered since %s; using %s (%s), which was reinstalled under that name", clip(before.Name), before.MachineIdentifier,
		minute(since), clip(after.Name), after.MachineIdentifier))
}

func secretCreated(secret *corev1.Secret) notice {
	return normal("SecretCreated", "WriteSecret",
		fmt.Sprintf("Created Secret %s; Pods in namespace %s can now use it", secret.Name, secret.Namespace))
}

func secretUpdated(name string) notice {
	return normal("SecretUpdated", "WriteSecret", "Updated Secret "+name)
}

func secretRepaired(name string) notice {
	return normal("SecretRepaired", "WriteSecret",
		fmt.Sprintf("Reverted manual changes to Secret %s; to change it, edit spec.secret", name))
}

func secretRecreated(live, desired *corev1.Secret) notice {
	if live.Type == desired.Type {
		return normal("SecretRecreated", "WriteSecret", fmt.Sprintf("Replaced Secret %s of an earlier PlexLink of this name", live.Name))
	}
	return normal("SecretRecreated", "WriteSecret",
		fmt.Sprintf("Deleted Secret %s of type %s to create it with type %s", live.Name, live.Type, desired.Type))
}

func signedOut() notice {
	return normal("SignedOut", "SignOut", "Signed the device out of plex.tv; its token is no longer valid")
}

// removeDevice is what a person can do about a token that may still be valid.
const removeDevice = "remove the device under Authorized Devices at https://app.plex.tv/desktop/#!/settings/devices/all"

func signOutGivenUp() notice {
	return warning(reasonSignOutFailed, "SignOut", "Gave up signing the device out of plex.tv after 5m; "+removeDevice)
}

func tokenUnknown(device string) notice {
	return warning(reasonSignOutFailed, "SignOut",
		fmt.Sprintf("Could not sign the device out of plex.tv, because Secret %s is gone; %s", device, removeDevice))
}

func leftBehind(u *unfinished) notice {
	return warning("DeletionIncomplete", "Delete", fmt.Sprintf("Gave up on %s: %s; %s", u.left, clip(apiMessage(u)), u.advice))
}

// statusNotices returns the events for a change of the status.
func statusNotices(before, after v1alpha1.PlexLinkStatus) []notice {
	var notices []notice
	if after.Server != nil && (before.Server == nil || before.Server.URL != after.Server.URL) {
		notices = append(notices, serverChosen(after.Server))
	}
	for _, conditionType := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionServerResolved, v1alpha1.ConditionSecretSynced} {
		old, now := meta.FindStatusCondition(before.Conditions, conditionType), meta.FindStatusCondition(after.Conditions, conditionType)
		switch {
		case now == nil || old != nil && old.Reason == now.Reason && old.Status == now.Status:
		case now.Status == metav1.ConditionFalse && isProblem(now.Reason), isAccountChanged(old, now):
			notices = append(notices, problem(now.Reason, now.Message))
		case now.Status == metav1.ConditionTrue && conditionType == v1alpha1.ConditionReady,
			now.Status == metav1.ConditionTrue && old != nil && conditionType == v1alpha1.ConditionServerResolved && len(notices) == 0:
			notices = append(notices, normal(now.Reason, "Reconcile", now.Message))
		}
		if now != nil && now.Status == metav1.ConditionFalse && conditionType == v1alpha1.ConditionReady {
			break // The other conditions would repeat it.
		}
	}
	return notices
}

// isAccountChanged reports whether spec.account has made a link that was Ready one of the wrong account.
func isAccountChanged(old, now *metav1.Condition) bool {
	return now.Reason == v1alpha1.ReasonWrongAccount && old != nil && old.Status == metav1.ConditionTrue
}

// isProblem reports whether a reason is more than a step toward Linked. A wrong account and a refused import were
// reported when they were found.
func isProblem(reason string) bool {
	switch reason {
	case v1alpha1.ReasonAwaitingLink, v1alpha1.ReasonAwaitingAccount, v1alpha1.ReasonQueued, v1alpha1.ReasonSuspended,
		v1alpha1.ReasonWrongAccount, v1alpha1.ReasonImportRefused:
		return false
	}
	return true
}

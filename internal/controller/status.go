package controller

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
)

// linkPages are the pages where a person enters a PIN.
type linkPages interface {
	EntryURL() string
	LinkURL(code string) string
}

// finding is the content of a condition.
type finding struct {
	status  metav1.ConditionStatus
	reason  string
	message string
}

// notReady returns a condition that an obstacle makes False.
func (o *obstacle) notReady() *finding {
	return &finding{metav1.ConditionFalse, o.reason, o.message}
}

// maxServers is how many servers the status lists.
const maxServers = 100

// deriveStatus turns the state and the findings of the steps into the status. From the previous status it takes only the
// transition times of conditions, and what an unreadable state would provide.
func deriveStatus(s *scope, pages linkPages) v1alpha1.PlexLinkStatus {
	d := s.state
	status := v1alpha1.PlexLinkStatus{
		ObservedGeneration: s.link.Generation,
		Conditions:         slices.Clone(s.link.Status.Conditions),
		Account:            accountStatus(d.Account),
		Server:             serverStatus(d.Server),
		Servers:            serverStatuses(d.Servers),
		LastRefreshTime:    timeStatus(d.LastRefresh),
		QueuedTime:         timeStatus(s.queuedTime),

		LastHandledLinkRequest: d.LinkRequest, LastHandledRefreshRequest: d.RefreshRequest,
	}
	if s.secretSynced || s.secretExists {
		status.SecretName = targetName(s.link)
	}
	if before := s.link.Status.DeepCopy(); d.ClientIdentifier == "" {
		status.Account, status.Server, status.Servers = before.Account, before.Server, before.Servers
		status.LastRefreshTime = before.LastRefreshTime
		status.LastHandledLinkRequest, status.LastHandledRefreshRequest = before.LastHandledLinkRequest, before.LastHandledRefreshRequest
	}

	set(&status, s.link, v1alpha1.ConditionAuthorized, authorizedFinding(s, pages))
	set(&status, s.link, v1alpha1.ConditionServerResolved, resolvedFinding(s))
	set(&status, s.link, v1alpha1.ConditionSecretSynced, syncedFinding(s))
	ready := readyFinding(s, pages)
	set(&status, s.link, v1alpha1.ConditionReady, ready)

	var reconciling, stalled *finding
	switch o := (&obstacle{reason: ready.reason, passing: s.obstacle != nil && s.obstacle.passing}); {
	case ready.status == metav1.ConditionTrue, ready.reason == v1alpha1.ReasonSuspended:
	case o.stalled() && (!isServerProblem(o) || relinkHint(s, pages) == ""):
		stalled = &finding{metav1.ConditionTrue, ready.reason, ready.message}
	default:
		reconciling = &finding{metav1.ConditionTrue, ready.reason, ready.message}
	}
	set(&status, s.link, v1alpha1.ConditionReconciling, reconciling)
	set(&status, s.link, v1alpha1.ConditionStalled, stalled)
	// An open PIN is polled in any case, but it is not shown when there is something else to do first.
	if d.pinOpen() && !s.follows() && !s.memory.unsaved && !s.link.Spec.Suspend && stalled == nil && s.pausedUntil.IsZero() {
		status.PIN = &v1alpha1.PINStatus{
			Code: d.PIN.Code, LinkURL: pages.LinkURL(d.PIN.Code), QRURL: d.PIN.QRURL, ExpirationTime: metav1.NewTime(d.PIN.ExpirationTime),
		}
	}
	return status
}

// authorizationObstacle returns what a person has to do before the link has a token, or nil.
func authorizationObstacle(s *scope, pages linkPages) *obstacle {
	d := s.state
	if d.authorized() && !s.wrongAccount() {
		return nil
	}
	o := &obstacle{reason: v1alpha1.ReasonAwaitingLink, message: requestingMessage}
	switch {
	case s.waitsFor != nil:
		o = &obstacle{reason: s.waitsFor.reason, message: s.waitsFor.message}
	case s.follows() && d.pinOpen():
		o = &obstacle{reason: v1alpha1.ReasonAwaitingAccount, message: following(leaderName(s.link).Name)}
	case !s.pausedUntil.IsZero() && d.pinOpen():
		o = &obstacle{reason: v1alpha1.ReasonPlexUnavailable, message: pausedUntil(s.pausedUntil)}
	case d.pinOpen() && s.memory.unsaved:
		o.message = storingMessage
	case d.pinOpen():
		o.message = enterPIN(d.PIN.Code, pages.EntryURL(), d.PIN.ExpirationTime)
	case d.PendingToken != "":
		o.message = identifyingMessage
	case d.StrayToken != "":
		o.message = signingStrayMessage
	case d.Unentered >= maxUnentered:
		o = &obstacle{reason: v1alpha1.ReasonPINExpired, message: pinsExpired(s.link)}
	case !s.queuedTime.IsZero():
		o = &obstacle{reason: v1alpha1.ReasonQueued, message: queuedMessage}
	case s.memory.plexProblem != "":
		o = &obstacle{reason: v1alpha1.ReasonPlexUnavailable, message: s.memory.plexProblem}
	}
	if d.PIN.Refused != "" {
		o.message = notFollowed(leaderName(s.link).Name, d.PIN.Refused) + "; " + o.message
	}
	// The cause of the new PIN is the reason while the PIN can be entered, and is part of the message in any case.
	why, because := "", ""
	switch {
	case s.wrongAccount():
		why, because = v1alpha1.ReasonWrongAccount, linkedToOther(d.Account, s.account())
	case d.Stranger != "":
		why, because = v1alpha1.ReasonWrongAccount, strangerEntered(d.Stranger, s.account())
	case d.Revoked:
		why, because = v1alpha1.ReasonTokenRevoked, "The account has signed this device out"
	case d.ImportProblem != "":
		why, because = v1alpha1.ReasonImportRefused, d.ImportProblem
	default:
		return o
	}
	if o.reason == v1alpha1.ReasonAwaitingLink {
		o.reason = why
	}
	o.message = because + "; " + o.message
	return o
}

// serverObstacle returns what keeps the link from having a proven address, or nil.
func serverObstacle(s *scope) error {
	switch d := s.state; {
	case s.settled():
		return nil
	case d.Problem != (serverProblem{}) && d.Problem.Spec == serverSpecKey(s.link.Spec.Server):
		return &obstacle{reason: d.Problem.Reason, message: d.Problem.Message}
	}
	return &obstacle{reason: v1alpha1.ReasonAwaitingLink, message: pinAcceptedMessage}
}

// authorizedFinding reports whether a person has entered the PIN and the token works.
func authorizedFinding(s *scope, pages linkPages) *finding {
	d := s.state
	o := authorizationObstacle(s, pages)
	switch {
	case !s.loaded && d.ClientIdentifier == "":
		return nil // Unknown.
	case o == nil:
		reason := v1alpha1.ReasonAuthorized
		if d.Relink {
			reason = v1alpha1.ReasonRelinking
		}
		return &finding{metav1.ConditionTrue, reason, authorizedBy(s) + relinkHint(s, pages)}
	case d.pinOpen() && !s.link.Spec.Suspend, s.obstacle == nil, s.obstacle.kind().condition == v1alpha1.ConditionAuthorized:
		return o.notReady()
	default:
		return &finding{metav1.ConditionFalse, s.obstacle.reason, "No PIN is offered: " + s.obstacle.message}
	}
}

// relinkHint describes the new PIN that was requested for a working link.
func relinkHint(s *scope, pages linkPages) string {
	d := s.state
	switch {
	case !d.Relink, s.memory.unsaved, !d.pinOpen() && s.waitsFor == nil, d.pinOpen() && s.follows() && s.waitsFor == nil:
		return ""
	case s.waitsFor != nil:
		return "; to link again: " + s.waitsFor.message
	}
	hint := "; to link again: " + enterPIN(d.PIN.Code, pages.EntryURL(), d.PIN.ExpirationTime)
	if d.Stranger != "" {
		hint = "; " + strangerEntered(d.Stranger, s.account()) + hint
	}
	return hint
}

// resolvedFinding reports whether a server is selected and an address of it is proven.
func resolvedFinding(s *scope) *finding {
	d := s.state
	switch {
	case d.Token == "":
		return nil
	case d.Problem != (serverProblem{}):
		return &finding{metav1.ConditionFalse, d.Problem.Reason, d.Problem.Message}
	case d.Server == (server{}) || d.Unproven:
		return nil
	case s.link.Spec.Server.Verification == v1alpha1.VerificationSkip:
		return &finding{metav1.ConditionTrue, v1alpha1.ReasonUnverified,
			fmt.Sprintf("Using %s at %s, unverified because spec.server.verification is Skip", clip(d.Server.Name), d.Server.URL)}
	}
	message := fmt.Sprintf("%s answers at %s", clip(d.Server.Name), d.Server.URL)
	if d.Server.Open {
		message += ", where it accepts requests without a token too, so the token is not verified"
	}
	if d.Server.Pod {
		message += ", the address of a Pod" + podHint
	}
	return &finding{metav1.ConditionTrue, v1alpha1.ReasonProven, message}
}

// podHint is what to do about the address of a Pod.
const podHint = ", which ends with it: create a Service for the server, or set spec.server.url"

// syncedFinding reports whether the target Secret has the desired content.
func syncedFinding(s *scope) *finding {
	switch {
	case s.obstacle != nil && s.obstacle.kind().condition == v1alpha1.ConditionSecretSynced:
		return s.obstacle.notReady()
	case s.secretSynced, s.secretExists:
		return &finding{metav1.ConditionTrue, v1alpha1.ReasonSynced, fmt.Sprintf("Secret %s is up to date", targetName(s.link))}
	}
	return nil
}

// isServerProblem reports whether a token of another account may resolve an obstacle.
func isServerProblem(o *obstacle) bool { return o.kind().condition == v1alpha1.ConditionServerResolved }

// readyFinding summarizes the conditions. Its reason is the STATUS in kubectl get.
func readyFinding(s *scope, pages linkPages) *finding {
	d, trouble := s.state, ""
	if o := s.obstacle; o != nil {
		if !o.harmless || !s.settled() {
			f := o.notReady()
			if isServerProblem(o) {
				f.message += relinkHint(s, pages)
			}
			return f
		}
		trouble = "; the last check of its Secrets failed: " + o.message
	}
	if o := authorizationObstacle(s, pages); o != nil {
		return o.notReady()
	}
	if !s.settled() {
		return &finding{metav1.ConditionFalse, v1alpha1.ReasonAwaitingLink, pinAcceptedMessage}
	}
	if !s.secretSynced && !s.secretExists {
		return &finding{metav1.ConditionFalse, v1alpha1.ReasonAwaitingLink, writingMessage}
	}
	if d.Problem.Confirmed {
		message := fmt.Sprintf("%s; Secret %s is left unchanged", d.Problem.Message, targetName(s.link))
		return &finding{metav1.ConditionFalse, d.Problem.Reason, message + relinkHint(s, pages)}
	}
	message := fmt.Sprintf("Secret %s has a token for %s at %s", targetName(s.link), clip(d.Server.Name), d.Server.URL)
	if s.link.Spec.Server.Verification == v1alpha1.VerificationSkip {
		message += ", unverified"
	}
	if d.Problem != (serverProblem{}) {
		message += "; the last check failed, and the Secret is left unchanged: " + d.Problem.Message
	}
	return &finding{metav1.ConditionTrue, v1alpha1.ReasonLinked, message + trouble + relinkHint(s, pages)}
}

func accountStatus(account plex.Account) *v1alpha1.AccountStatus {
	if account == (plex.Account{}) {
		return nil
	}
	return &v1alpha1.AccountStatus{Username: account.Username, UUID: account.UUID}
}

func serverStatus(sv server) *v1alpha1.ServerStatus {
	if sv == (server{}) {
		return nil
	}
	return &v1alpha1.ServerStatus{
		Name: sv.Name, MachineIdentifier: sv.MachineIdentifier, Version: sv.Version, Owned: sv.Owned, Owner: sv.Owner,
		Location: v1alpha1.Location(sv.Location), URL: sv.URL,
	}
}

func serverStatuses(servers []serverChoice) []v1alpha1.ServerChoice {
	list := make([]v1alpha1.ServerChoice, 0, len(servers))
	for _, sv := range servers {
		list = append(list, v1alpha1.ServerChoice(sv))
	}
	return list
}

// timeStatus returns nil for the zero time.
func timeStatus(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	return &metav1.Time{Time: t.Truncate(time.Second)}
}

// choices returns the account's servers, each once, in a stable order.
func choices(servers []plex.Server) []serverChoice {
	list := make([]serverChoice, 0, len(servers))
	for _, sv := range servers {
		list = append(list, serverChoice{Name: sv.Name, MachineIdentifier: sv.MachineIdentifier, Owned: sv.Owned, Owner: sv.Owner})
	}
	slices.SortFunc(list, func(a, b serverChoice) int {
		return strings.Compare(a.Name+"\x00"+a.MachineIdentifier, b.Name+"\x00"+b.MachineIdentifier)
	})
	seen := map[string]bool{}
	list = slices.DeleteFunc(list, func(sv serverChoice) bool {
		again := seen[sv.MachineIdentifier]
		seen[sv.MachineIdentifier] = true
		return again
	})
	return list[:min(len(list), maxServers)]
}

// set writes a condition, or removes it if there is no finding.
func set(status *v1alpha1.PlexLinkStatus, link *v1alpha1.PlexLink, conditionType string, f *finding) {
	if f == nil {
		meta.RemoveStatusCondition(&status.Conditions, conditionType)
		return
	}
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: conditionType, Status: f.status, Reason: f.reason, Message: truncate(f.message, maxMessage), ObservedGeneration: link.Generation,
	})
}

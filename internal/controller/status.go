package controller

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
)

// linkPages are where a person enters a PIN.
type linkPages interface {
	EntryURL() string
	LinkURL(code string) string
}

// finding is what a condition says.
type finding struct {
	status  metav1.ConditionStatus
	reason  string
	message string
}

// stalled are the reasons that no event of ours can end: only a change by a person helps. kstatus calls everything that
// is Stalled failed, so a link that waits for its PIN to be entered is none of them.
var stalled = []string{
	v1alpha1.ReasonServerNotFound, v1alpha1.ReasonServerAmbiguous, v1alpha1.ReasonSecretConflict,
	v1alpha1.ReasonInvalidTemplate, v1alpha1.ReasonPINExpired, v1alpha1.ReasonSecretRefused,
}

// maxMessage keeps messages readable in a terminal; the API allows 32 KiB.
const maxMessage = 1000

// deriveStatus turns what the steps learnt into the status. Conditions that are no news this time stay as they were.
func deriveStatus(s *scope, pages linkPages) v1alpha1.PlexLinkStatus {
	status := *s.link.Status.DeepCopy()
	status.ObservedGeneration = s.link.Generation
	d := s.device

	status.PIN = nil
	if d.PIN != nil && !s.link.Spec.Suspend {
		status.PIN = &v1alpha1.PINStatus{
			Code: d.PIN.Code, LinkURL: pages.LinkURL(d.PIN.Code), QRURL: d.PIN.QRURL, ExpiresAt: metav1.NewTime(d.PIN.ExpiresAt),
		}
	}
	if s.conflict != s.link.Name+v1alpha1.DeviceSecretSuffix { // else nothing is known about account and server
		status.Account, status.Server = nil, nil
	}
	if d.Account != (plex.Account{}) {
		status.Account = &v1alpha1.AccountStatus{Username: d.Account.Username, UUID: d.Account.UUID}
	}
	if d.Server != nil {
		status.Server = &v1alpha1.ServerStatus{
			Name: d.Server.Name, MachineIdentifier: d.Server.MachineIdentifier, Version: d.Server.Version,
			Owned: d.Server.Owned, Location: v1alpha1.Location(d.Server.Location), URI: d.Server.URL,
		}
	}
	if s.servers != nil {
		status.Servers = choices(s.servers)
	}
	if s.resolved && s.serverErr == nil {
		status.LastRefreshTime = &metav1.Time{Time: s.now.Truncate(time.Second)}
	}
	if s.secretInPlace {
		status.SecretName = secretName(s.link)
	}
	if s.place == 0 {
		status.QueuedSince = nil
	} else if status.QueuedSince == nil {
		status.QueuedSince = &metav1.MicroTime{Time: s.now.Truncate(time.Microsecond)}
	}

	authorized := authorizedFinding(s, pages, find(status.Conditions, v1alpha1.ConditionAuthorized))
	set(&status, s.link, v1alpha1.ConditionAuthorized, authorized)
	resolved := find(status.Conditions, v1alpha1.ConditionServerResolved)
	if s.resolved {
		resolved = resolvedFinding(s)
	} else if d.Token == "" && s.conflict == "" {
		resolved = nil
	}
	set(&status, s.link, v1alpha1.ConditionServerResolved, resolved)

	ready := readyFinding(s, authorized, resolved)
	set(&status, s.link, v1alpha1.ConditionReady, &ready)
	var reconciling, stall *finding
	switch {
	case ready.status == metav1.ConditionTrue, ready.reason == v1alpha1.ReasonSuspended:
	case slices.Contains(stalled, ready.reason):
		stall = &finding{metav1.ConditionTrue, ready.reason, ready.message}
		status.PIN = nil // It is polled all the same, but there is something else to do first.
	default:
		reconciling = &finding{metav1.ConditionTrue, ready.reason, ready.message}
	}
	set(&status, s.link, v1alpha1.ConditionReconciling, reconciling)
	set(&status, s.link, v1alpha1.ConditionStalled, stall)
	return status
}

// authorizedFinding says whether a person has entered the PIN and the token works.
func authorizedFinding(s *scope, pages linkPages, before *finding) *finding {
	d := s.device
	if s.authorized() {
		message := "the PIN was entered"
		if d.Account.Username != "" {
			message = "the PIN was entered by " + clip(d.Account.Username)
		}
		if d.Relink && d.PIN != nil {
			message = fmt.Sprintf("%s; to link again, %s", message, enterPIN(d.PIN.Code, pages.EntryURL(), d.PIN.ExpiresAt))
		}
		return &finding{metav1.ConditionTrue, "Authorized", message}
	}
	no := func(reason, message string) *finding {
		if d.TokenRevoked && reason == v1alpha1.ReasonAwaitingLink {
			reason = v1alpha1.ReasonTokenRevoked
		}
		if d.TokenRevoked {
			message = "the account has signed this device out; " + message
		}
		return &finding{metav1.ConditionFalse, reason, message}
	}
	switch {
	case s.link.Spec.Suspend:
		return no(v1alpha1.ReasonSuspended, "spec.suspend is true: no PIN is offered until it is false")
	case s.conflict != "" && before != nil && before.status == metav1.ConditionTrue:
		return before
	case s.conflict != "":
		return no(v1alpha1.ReasonSecretConflict, fmt.Sprintf("no PIN is offered while the Secret %s is in the way", s.conflict))
	case s.plexErr != nil:
		return no(v1alpha1.ReasonPlexUnavailable, plexProblem(s.plexErr))
	case d.PIN != nil:
		return no(v1alpha1.ReasonAwaitingLink, enterPIN(d.PIN.Code, pages.EntryURL(), d.PIN.ExpiresAt))
	case d.Unentered >= maxUnentered:
		return no(v1alpha1.ReasonPINExpired, fmt.Sprintf(
			"nobody entered any of %d PINs; for a new one: kubectl annotate plexlink -n %s %s --overwrite %s=\"$(date)\"",
			maxUnentered, s.link.Namespace, s.link.Name, v1alpha1.LinkRequestedAtAnnotation))
	case s.place > 0:
		return no(v1alpha1.ReasonQueued, fmt.Sprintf("place %d in the queue for a PIN, because other links have theirs open", s.place))
	case before != nil && before.reason == v1alpha1.ReasonPlexUnavailable:
		return before
	default:
		return no(v1alpha1.ReasonAwaitingLink, "a PIN is being requested from plex.tv")
	}
}

// resolvedFinding says whether a server is chosen and an address of it proven.
func resolvedFinding(s *scope) *finding {
	if s.serverErr == nil {
		sv := s.device.Server
		if s.link.Spec.Server.Verification == v1alpha1.VerificationSkip {
			return &finding{metav1.ConditionTrue, "Unverified",
				fmt.Sprintf("%s is used at %s, unverified, because spec.server.verification is Skip", clip(sv.Name), sv.URL)}
		}
		return &finding{metav1.ConditionTrue, "Proven", fmt.Sprintf("%s answers at %s", clip(sv.Name), sv.URL)}
	}
	reason, message := serverProblem(s.serverErr, s.link.Spec.Server)
	return &finding{metav1.ConditionFalse, reason, message}
}

// serverProblem says what kept a server from being resolved, and what to do.
func serverProblem(err error, spec v1alpha1.ServerSpec) (reason, message string) {
	var notFound *plex.ServerNotFoundError
	var ambiguous *plex.ServerAmbiguousError
	var unproven *unprovenError
	var ca *caError
	switch {
	case errors.As(err, &notFound):
		return v1alpha1.ReasonServerNotFound, notFound.Error()
	case errors.As(err, &ambiguous):
		return v1alpha1.ReasonServerAmbiguous, ambiguous.Error()
	case errors.As(err, &unproven):
		return unproven.describe(spec)
	case errors.As(err, &ca):
		return v1alpha1.ReasonServerUnreachable, ca.message
	default:
		return v1alpha1.ReasonPlexUnavailable, plexProblem(err)
	}
}

// describe says for each address what came of it, and no more than that: with status codes or time-outs it would be a
// port scanner for everybody who may create a PlexLink.
func (e *unprovenError) describe(spec v1alpha1.ServerSpec) (reason, message string) {
	name := clip(e.server)
	locations := spec.Locations
	if len(locations) == 0 {
		locations = []v1alpha1.Location{v1alpha1.Location(plex.Local)}
	}
	hint := ""
	if e.shared && spec.URL == "" && slices.Contains(locations, v1alpha1.Location(plex.Local)) {
		hint = "; the server is shared by somebody else, so its local addresses are in their network"
		if !slices.Contains(locations, v1alpha1.Location(plex.Remote)) {
			hint += ": add Remote to spec.server.locations"
		}
	}
	switch {
	case e.noToken:
		return v1alpha1.ReasonTokenRejected, fmt.Sprintf(
			"plex.tv gives this account no token for %s: ask its owner to share it again, or set spec.server to another server", name)
	case len(e.outcomes) == 0:
		var allowed []string
		for _, l := range locations {
			allowed = append(allowed, string(l))
		}
		return v1alpha1.ReasonServerUnreachable, fmt.Sprintf(
			"%s advertises no address that may be used (locations: %s): change spec.server.locations or schemes, or set spec.server.url%s",
			name, strings.Join(allowed, ", "), hint)
	}
	const shown = 5
	outcomes := slices.Clone(e.outcomes)
	if len(outcomes) > shown { // What tells most comes first, so that it is not among those that are only counted.
		telling := []plex.Verdict{plex.TokenRefused, plex.NotThisServer, plex.Unreachable}
		slices.SortStableFunc(outcomes, func(a, b plex.Outcome) int {
			return slices.Index(telling, a.Verdict) - slices.Index(telling, b.Verdict)
		})
	}
	reason = v1alpha1.ReasonServerUnreachable
	var parts []string
	hidden := map[plex.Verdict]int{}
	for i, o := range outcomes {
		if o.Verdict == plex.TokenRefused {
			reason = v1alpha1.ReasonTokenRejected
		}
		if i < shown {
			parts = append(parts, clip(o.Candidate.URL)+" "+string(o.Verdict))
		} else {
			hidden[o.Verdict]++
		}
	}
	for _, verdict := range slices.Sorted(maps.Keys(hidden)) {
		parts = append(parts, fmt.Sprintf("%d more: %s", hidden[verdict], verdict))
	}
	what := fmt.Sprintf("none of %d addresses is %s", len(outcomes), name)
	switch {
	case reason == v1alpha1.ReasonTokenRejected:
		what = name + " does not accept the token"
	case spec.URL != "":
		what = "spec.server.url is not proven to be " + name
	case len(outcomes) == 1:
		what = "the only address is not proven to be " + name
	}
	return reason, what + ": " + strings.Join(parts, "; ") + hint
}

// readyFinding sums up the conditions. Its reason is the STATUS that kubectl get shows.
func readyFinding(s *scope, authorized, resolved *finding) finding {
	no := func(reason, message string) finding { return finding{metav1.ConditionFalse, reason, message} }
	d := s.device
	switch {
	case s.link.Spec.Suspend:
		return no(v1alpha1.ReasonSuspended, "spec.suspend is true: nothing is checked or repaired until it is false")
	case s.conflict == s.link.Name+v1alpha1.DeviceSecretSuffix:
		return no(v1alpha1.ReasonSecretConflict, fmt.Sprintf(
			"the Secret %s is not the state of this link or cannot be read: delete or rename it, or rename this PlexLink", s.conflict))
	case s.conflict != "":
		return no(v1alpha1.ReasonSecretConflict, fmt.Sprintf(
			"the Secret %s belongs to somebody else and is not touched: delete it, or set spec.secret.name to another name", s.conflict))
	case s.templateErr != nil:
		return no(v1alpha1.ReasonInvalidTemplate, s.templateErr.Error())
	case authorized.status != metav1.ConditionTrue:
		return no(authorized.reason, authorized.message)
	case s.refused != nil:
		return no(v1alpha1.ReasonSecretRefused, "the cluster does not allow the Secret: "+clip(s.refused.Error()))
	}
	settled := s.settled()
	switch {
	case !settled && resolved != nil && resolved.status == metav1.ConditionFalse:
		return no(resolved.reason, resolved.message)
	case !settled:
		return no(v1alpha1.ReasonAwaitingLink, "the PIN was entered; the server is being looked for")
	case !s.secretInPlace:
		return no(v1alpha1.ReasonAwaitingLink, "the PIN was entered; the Secret is being written")
	}
	message := fmt.Sprintf("the Secret %s has a token for %s at %s", secretName(s.link), clip(d.Server.Name), d.Server.URL)
	if s.link.Spec.Server.Verification == v1alpha1.VerificationSkip {
		message += ", unverified"
	}
	if resolved != nil && resolved.status == metav1.ConditionFalse {
		message += "; the last check failed, and the Secret stays as it is: " + resolved.message
	}
	if d.Relink && d.PIN != nil {
		message += "; " + authorized.message
	}
	return finding{metav1.ConditionTrue, v1alpha1.ReasonLinked, message}
}

// enterPIN says what the person has to do. The time is absolute: a countdown would change by itself.
func enterPIN(code, entryURL string, expires time.Time) string {
	return fmt.Sprintf("enter %s at %s before %s", code, entryURL, expires.UTC().Format("15:04 UTC"))
}

// plexProblem says what is wrong with plex.tv, without anything that changes from one attempt to the next.
func plexProblem(err error) string {
	var throttled *plex.ThrottledError
	switch {
	case errors.As(err, &throttled):
		return "plex.tv wants fewer requests; it will be asked again by itself"
	case errors.Is(err, plex.ErrBadRequest):
		return clip(err.Error()) + "; it will be asked again by itself"
	default:
		return "plex.tv does not answer properly; it will be asked again by itself"
	}
}

// choices lists the account's servers in an order that does not change.
func choices(servers []plex.Server) []v1alpha1.ServerChoice {
	list := make([]v1alpha1.ServerChoice, 0, len(servers))
	for _, s := range servers {
		list = append(list, v1alpha1.ServerChoice{Name: s.Name, MachineIdentifier: s.MachineIdentifier, Owned: s.Owned})
	}
	slices.SortFunc(list, func(a, b v1alpha1.ServerChoice) int {
		return strings.Compare(a.Name+"\x00"+a.MachineIdentifier, b.Name+"\x00"+b.MachineIdentifier)
	})
	return list[:min(len(list), 100)]
}

// find returns what a condition says; nil: it is absent.
func find(conditions []metav1.Condition, conditionType string) *finding {
	c := meta.FindStatusCondition(conditions, conditionType)
	if c == nil {
		return nil
	}
	return &finding{c.Status, c.Reason, c.Message}
}

// set writes a condition, or removes it when there is nothing to say.
func set(status *v1alpha1.PlexLinkStatus, link *v1alpha1.PlexLink, conditionType string, f *finding) {
	if f == nil {
		meta.RemoveStatusCondition(&status.Conditions, conditionType)
		return
	}
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: conditionType, Status: f.status, Reason: f.reason, Message: truncate(f.message, maxMessage), ObservedGeneration: link.Generation,
	})
}

// clip shortens a text that others chose, and takes line breaks and other controls out of it.
func clip(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	return truncate(text, 200)
}

// truncate shortens a text to a number of bytes, between two characters.
func truncate(text string, size int) string {
	const mark = " …"
	if len(text) <= size {
		return text
	}
	text = text[:size-len(mark)]
	for !utf8.ValidString(text) && len(text) > 0 {
		text = text[:len(text)-1]
	}
	return text + mark
}

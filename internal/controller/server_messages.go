package controller

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
)

// describeServerError explains why no server could be resolved, and what to do.
func describeServerError(err error, s *scope) serverProblem {
	if gone, ok := errors.AsType[*goneError](err); ok {
		return serverProblem{Reason: v1alpha1.ReasonServerNotFound, Definite: gone.unreadable == 0, Message: fmt.Sprintf(
			"%s%s; ask its owner to share it again, or set spec.server to another server",
			capitalize(gone.Error()), unreadableHint(gone.unreadable))}
	}
	if notFound, ok := errors.AsType[*plex.ServerNotFoundError](err); ok {
		return serverProblem{Reason: v1alpha1.ReasonServerNotFound, Definite: true, Message: capitalize(notFound.Error()) + otherAccountHint(s)}
	}
	if ambiguous, ok := errors.AsType[*plex.ServerAmbiguousError](err); ok {
		return serverProblem{Reason: v1alpha1.ReasonServerAmbiguous, Definite: true, Message: capitalize(ambiguous.Error())}
	}
	if unproven, ok := errors.AsType[*unprovenError](err); ok {
		reason, message := unproven.describe(s.link.Spec.Server)
		return serverProblem{Reason: reason, Definite: unproven.refused(), Message: message}
	}
	if doubt, ok := errors.AsType[*doubtError](err); ok {
		return serverProblem{Reason: v1alpha1.ReasonServerUnreachable, Message: fmt.Sprintf(
			"%s but at %s; checking again before the Secret changes", capitalize(doubt.Error()), clip(doubt.worse))}
	}
	if discovery, ok := errors.AsType[*discoveryError](err); ok {
		return serverProblem{Reason: v1alpha1.ReasonServerUnreachable, Message: fmt.Sprintf(
			"Could not list the Services that lead to the server: %s; retrying automatically", clip(apiMessage(discovery.cause)))}
	}
	if ca, ok := errors.AsType[*caError](err); ok {
		return serverProblem{Reason: v1alpha1.ReasonServerUnreachable, Message: ca.message}
	}
	if s.state.refusedTooLong(s.now) && plex.Classify(err) == plex.ClassTokenRefused {
		return serverProblem{Reason: v1alpha1.ReasonTokenRejected, Definite: true, Confirmed: true, Message: fmt.Sprintf(
			"plex.tv has refused the token since %s; to link again, run: %s",
			minute(s.state.RefusedSince), relinkCommand(s.link))}
	}
	return serverProblem{Reason: v1alpha1.ReasonPlexUnavailable, Message: plexProblem(err)}
}

// unreadableHint returns a hint that parts of the list of servers could not be read, or "".
func unreadableHint(unreadable int) string {
	if unreadable == 0 {
		return ""
	}
	return fmt.Sprintf(", as far as plex.tv's list could be read (%d records could not)", unreadable)
}

// otherAccountHint names the account that entered the PIN: if it is the wrong one, its servers are, too.
func otherAccountHint(s *scope) string {
	if s.state.Account == (plex.Account{}) || s.link.Spec.Account.IsLimited() {
		return ""
	}
	return fmt.Sprintf("; %s entered the PIN: to link another account, run: %s", accountName(s.state.Account), relinkCommand(s.link))
}

// omittedHint returns a hint at the advertised addresses that the spec excludes, or "".
func omittedHint(omitted plex.Omitted, spec v1alpha1.ServerSpec) string {
	hint := ""
	if n := omitted.ByLocation; n > 0 {
		hint += fmt.Sprintf("; spec.server.locations (%s) leaves out %d more", joined(locationsOf(spec)), n)
	}
	if n := omitted.ByScheme; n > 0 {
		schemes := "HTTPS, and HTTP only in private networks"
		if len(spec.Schemes) > 0 {
			schemes = joined(spec.Schemes)
		}
		hint += fmt.Sprintf("; spec.server.schemes (%s) leaves out %d more", schemes, n)
	}
	return hint
}

func joined[T ~string](list []T) string {
	texts := make([]string, 0, len(list))
	for _, text := range list {
		texts = append(texts, string(text))
	}
	return strings.Join(texts, ", ")
}

// describe gives the verdict for each address and no more: with status codes or time-outs it would be a port scanner for
// everyone who may create a PlexLink.
func (e *unprovenError) describe(spec v1alpha1.ServerSpec) (reason, message string) {
	name := clip(e.server.Name)
	hint := omittedHint(e.omitted, spec)
	switch {
	case spec.URL != "" && strings.HasPrefix(spec.URL, "http:") && e.server.HTTPSRequired:
		hint = "; it requires secure connections: set an https URL"
	case spec.URL == "" && !e.server.Owned:
		hint += sharedHint(locationsOf(spec))
	}
	switch {
	case e.noToken():
		return v1alpha1.ReasonTokenRejected, fmt.Sprintf(
			"plex.tv has no token of this account for %s; ask its owner to share it again, or set spec.server to another server", name)
	case len(e.outcomes) == 0:
		return v1alpha1.ReasonServerUnreachable, fmt.Sprintf(
			"No advertised address of %s matches spec.server.locations (%s) and schemes; change them, or set spec.server.url%s",
			name, joined(locationsOf(spec)), hint)
	}
	const shown = 5
	outcomes := slices.Clone(e.outcomes)
	if len(outcomes) > shown { // The most informative come first; the rest are only counted.
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
	what := fmt.Sprintf("Could not verify %s at any of its %d addresses", name, len(outcomes))
	switch {
	case reason == v1alpha1.ReasonTokenRejected:
		what = capitalize(name + " does not accept the token")
	case spec.URL != "":
		what = fmt.Sprintf("Could not verify %s at spec.server.url", name)
	case len(outcomes) == 1:
		what = fmt.Sprintf("Could not verify %s at its only address", name)
	}
	return reason, what + ": " + strings.Join(parts, "; ") + hint
}

// sharedHint explains why the local addresses of a shared server cannot be used, or returns "".
func sharedHint(locations []v1alpha1.Location) string {
	if !slices.Contains(locations, v1alpha1.LocationLocal) {
		return ""
	}
	hint := "; the server is shared, so its local addresses are in its owner's network"
	if !slices.Contains(locations, v1alpha1.LocationRemote) {
		hint += "; add Remote to spec.server.locations"
	}
	return hint
}

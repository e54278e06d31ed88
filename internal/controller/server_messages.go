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

// describeServerError tells what kept a server from being resolved, and what to do.
func describeServerError(err error, s *scope) (reason, message string) {
	if notFound, ok := errors.AsType[*plex.ServerNotFoundError](err); ok {
		return v1alpha1.ReasonServerNotFound, capitalize(notFound.Error()) + otherAccountHint(s)
	}
	if ambiguous, ok := errors.AsType[*plex.ServerAmbiguousError](err); ok {
		return v1alpha1.ReasonServerAmbiguous, capitalize(ambiguous.Error())
	}
	if unproven, ok := errors.AsType[*unprovenError](err); ok {
		return unproven.describe(s.link.Spec.Server)
	}
	if ca, ok := errors.AsType[*caError](err); ok {
		return v1alpha1.ReasonServerUnreachable, ca.message
	}
	return v1alpha1.ReasonPlexUnavailable, plexProblem(err)
}

// otherAccountHint names the account that entered the PIN: the wrong one may be why a server is not found.
func otherAccountHint(s *scope) string {
	if s.state.Account == (plex.Account{}) || s.link.Spec.Account != (v1alpha1.AccountSpec{}) {
		return ""
	}
	return fmt.Sprintf("; %s entered the PIN: to link another account, run: %s", accountName(s.state.Account), relinkCommand(s.link))
}

// describe tells for each address what came of it, and no more than that: with status codes or time-outs it would be a
// port scanner for everyone who may create a PlexLink.
func (e *unprovenError) describe(spec v1alpha1.ServerSpec) (reason, message string) {
	name := clip(e.server)
	locations := spec.Locations
	if len(locations) == 0 {
		locations = []v1alpha1.Location{v1alpha1.LocationLocal}
	}
	hint := ""
	if e.shared && spec.URL == "" {
		hint = sharedHint(locations)
	}
	switch {
	case e.noToken:
		return v1alpha1.ReasonTokenRejected, fmt.Sprintf(
			"plex.tv has no token of this account for %s; ask its owner to share it again, or set spec.server to another server", name)
	case len(e.outcomes) == 0:
		var allowed []string
		for _, l := range locations {
			allowed = append(allowed, string(l))
		}
		return v1alpha1.ReasonServerUnreachable, fmt.Sprintf(
			"No advertised address of %s matches spec.server.locations (%s) and schemes; change them, or set spec.server.url%s",
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

// sharedHint tells why the local addresses of a shared server are of no use.
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

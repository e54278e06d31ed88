package controller

import (
	"time"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
)

const (
	// confirmAfter is the time after which a second check has to confirm a definite problem before it counts: plex.tv and
	// servers have given wrong answers for seconds.
	confirmAfter = time.Minute
	// refusedTooLong is how long plex.tv may refuse the token without calling it invalid.
	refusedTooLong = 24 * time.Hour
	// replacedAfter is the time without proof of a server after which another of the same name may replace it.
	replacedAfter = 24 * time.Hour
)

// server is the selected server with its address.
type server struct {
	Name              string        `json:"name"`
	MachineIdentifier string        `json:"machineIdentifier"`
	Version           string        `json:"version,omitempty"`
	Owned             bool          `json:"owned"`
	Owner             string        `json:"owner,omitempty"`
	URL               string        `json:"url"`
	Location          plex.Location `json:"location,omitempty"`
	// Pod means that the address belongs to a Pod and goes away with it.
	Pod bool `json:"pod,omitempty"`
	// Open means that the server answers without a token too, so that its answer does not prove the token.
	Open bool `json:"open,omitempty"`
	// Spec identifies spec.server as it was when the address was chosen, see serverSpecKey.
	Spec string `json:"spec"`
}

// serverProblem is a failed check of the server, for the condition ServerResolved.
type serverProblem struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Spec identifies the spec.server that was checked, see serverSpecKey.
	Spec string `json:"spec"`
	// Definite means that it is not an outage: the server, or plex.tv, gave a valid answer. Since is when it was found first.
	Definite bool      `json:"definite,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	// Confirmed means that a later check found the definite problem again: it makes Ready False.
	Confirmed bool `json:"confirmed,omitempty"`
}

// serverChoice is a server that the account can use.
type serverChoice struct {
	Name              string `json:"name"`
	MachineIdentifier string `json:"machineIdentifier"`
	Owned             bool   `json:"owned"`
	Owner             string `json:"owner,omitempty"`
}

// serverProven records the server and the address to use.
func (s state) serverProven(sv server, token plex.Sensitive, now time.Time) state {
	s.Server, s.ServerToken, s.Unproven = sv, token, false
	s.Problem = serverProblem{}
	s.FailingSince, s.Doubted = time.Time{}, time.Time{}
	s.LastRefresh = now
	return s
}

// serverFailed records that no server or no address could be chosen. What was proven before stays. A confirmed problem stays
// too until a check contradicts it: an outage does not.
func (s state) serverFailed(p serverProblem, now time.Time) state {
	if p.Reason == v1alpha1.ReasonServerUnreachable && sane(s.FailingSince, now).IsZero() {
		s.FailingSince = now
	}
	old := s.Problem
	switch {
	case old.Confirmed && !p.Definite && old.Spec == p.Spec:
		return s
	case p.Definite:
		p.Since = now
		if since := sane(old.Since, now); old.Definite && old.Reason == p.Reason && old.Spec == p.Spec && !since.IsZero() {
			p.Since = since
		}
		p.Confirmed = p.Confirmed || old.Confirmed && old.Spec == p.Spec || now.Sub(p.Since) >= confirmAfter
	}
	s.Problem = p
	return s
}

// addressDoubted records that the address in use did not answer while a worse one did.
func (s state) addressDoubted(now time.Time) state {
	if sane(s.Doubted, now).IsZero() {
		s.Doubted = now
	}
	return s
}

// tokenRefused records that plex.tv refused the token without calling it invalid.
func (s state) tokenRefused(now time.Time) state {
	if sane(s.RefusedSince, now).IsZero() {
		s.RefusedSince = now
	}
	return s
}

// untilConfirmed returns the time until a check that found a definite problem, or a doubt, is repeated.
func (s state) untilConfirmed(now time.Time) time.Duration {
	first := sane(s.Doubted, now)
	if s.Problem.Definite && !s.Problem.Confirmed {
		first = sane(s.Problem.Since, now)
	}
	if first.IsZero() {
		return 0
	}
	return max(first.Add(confirmAfter).Sub(now), 0)
}

// untilMoved returns the time until a worse address replaces the one in use, which does not answer.
func (s state) untilMoved(now time.Time) time.Duration {
	first := sane(s.Doubted, now)
	if first.IsZero() {
		return confirmAfter
	}
	return max(first.Add(confirmAfter).Sub(now), 0)
}

// isGone reports whether the server in use was already missing from the account's list a while ago.
func (s state) isGone(now time.Time) bool {
	since := sane(s.Problem.Since, now)
	return s.Problem.Reason == v1alpha1.ReasonServerNotFound && s.Problem.Definite && !since.IsZero() && now.Sub(since) >= confirmAfter
}

// replaceable reports whether the server has been unproven for so long that another of its name may replace it.
func (s state) replaceable(now time.Time) bool {
	since := sane(s.FailingSince, now)
	return !since.IsZero() && now.Sub(since) >= replacedAfter
}

// refusedTooLong reports whether plex.tv has refused the token for too long for an outage.
func (s state) refusedTooLong(now time.Time) bool {
	since := sane(s.RefusedSince, now)
	return !since.IsZero() && now.Sub(since) >= refusedTooLong
}

// serversListed records the servers of the account.
func (s state) serversListed(servers []serverChoice) state {
	s.Servers, s.RefusedSince = servers, time.Time{}
	return s
}

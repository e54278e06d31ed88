package controller

import (
	"time"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
)

const (
	// confirmAfter is how long after a definite no the next check has to find the same before it counts: plex.tv and servers
	// have given wrong answers for seconds.
	confirmAfter = time.Minute
	// refusedTooLong is how long plex.tv may refuse the token in a way that does not call it invalid.
	refusedTooLong = 24 * time.Hour
	// replacedAfter is how long a server must not have been proven before another one of its name may take its place.
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
	// Pod means that the address is that of a Pod, which ends with it.
	Pod bool `json:"pod,omitempty"`
	// Open means that the server answers without a token too, so that no token is proven.
	Open bool `json:"open,omitempty"`
	// Spec identifies spec.server as it was when the address was chosen, see serverSpecKey.
	Spec string `json:"spec"`
}

// serverProblem is a failed check of the server, as the condition ServerResolved shows it.
type serverProblem struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Spec identifies the spec.server that was checked, see serverSpecKey.
	Spec string `json:"spec"`
	// Definite means that it is no outage: the server, or plex.tv, gave a proper answer. Since is when that was found first.
	Definite bool      `json:"definite,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	// Confirmed means that a definite problem was found again later: it makes Ready False.
	Confirmed bool `json:"confirmed,omitempty"`
}

// serverChoice is a server that the account can use.
type serverChoice struct {
	Name              string `json:"name"`
	MachineIdentifier string `json:"machineIdentifier"`
	Owned             bool   `json:"owned"`
	Owner             string `json:"owner,omitempty"`
}

// serverProven notes the server and the address to use.
func (s state) serverProven(sv server, token plex.Sensitive, now time.Time) state {
	s.Server, s.ServerToken, s.Unproven = sv, token, false
	s.Problem = serverProblem{}
	s.FailingSince, s.Doubted = time.Time{}, time.Time{}
	s.LastRefresh = now
	return s
}

// serverFailed notes that no server or no address could be chosen. What was proven before stays, and so does a confirmed
// problem until a check says otherwise: an outage says nothing.
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

// addressDoubted notes that the address in use did not answer while a worse one did.
func (s state) addressDoubted(now time.Time) state {
	if sane(s.Doubted, now).IsZero() {
		s.Doubted = now
	}
	return s
}

// tokenRefused notes that plex.tv refused the token without calling it invalid.
func (s state) tokenRefused(now time.Time) state {
	if sane(s.RefusedSince, now).IsZero() {
		s.RefusedSince = now
	}
	return s
}

// untilConfirmed returns how long to wait before a check that found a definite problem, or a doubt, is repeated.
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

// untilMoved returns how long a worse address has to wait while the one in use does not answer.
func (s state) untilMoved(now time.Time) time.Duration {
	first := sane(s.Doubted, now)
	if first.IsZero() {
		return confirmAfter
	}
	return max(first.Add(confirmAfter).Sub(now), 0)
}

// isGone reports whether the server in use was missing from the account's list a while ago already.
func (s state) isGone(now time.Time) bool {
	since := sane(s.Problem.Since, now)
	return s.Problem.Reason == v1alpha1.ReasonServerNotFound && s.Problem.Definite && !since.IsZero() && now.Sub(since) >= confirmAfter
}

// replaceable reports whether the server has not been proven for so long that another of its name may take its place.
func (s state) replaceable(now time.Time) bool {
	since := sane(s.FailingSince, now)
	return !since.IsZero() && now.Sub(since) >= replacedAfter
}

// refusedTooLong reports whether plex.tv has refused the token for so long that it is no outage.
func (s state) refusedTooLong(now time.Time) bool {
	since := sane(s.RefusedSince, now)
	return !since.IsZero() && now.Sub(since) >= refusedTooLong
}

// serversListed notes the servers of the account.
func (s state) serversListed(servers []serverChoice) state {
	s.Servers, s.RefusedSince = servers, time.Time{}
	return s
}

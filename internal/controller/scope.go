package controller

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/pace"
	"plexlink.dev/operator/internal/plex"
)

// scope is what one reconciliation knows. The steps act and leave here what they learnt; deriveStatus turns it into
// the status.
type scope struct {
	// link is the PlexLink as it was read. No step changes it but keepFinalizer, which replaces it.
	link *v1alpha1.PlexLink
	// name of the PlexLink.
	name types.NamespacedName
	// now is the time of this reconciliation.
	now time.Time
	// memory is what this process remembers about the link.
	memory *entry

	// state of the link: set by loadState, changed by transitions, stored by save.
	state state
	// stored is the state that the device Secret holds: set by loadState and save.
	stored state
	// device is the device Secret that holds stored; zero while there is none. Set by loadState and save.
	device secretVersion

	// loaded means that state is that of the link. Set by loadState.
	loaded bool

	// leaderAccount is the uuid of the account that a link with spec.account.linkRef has to belong to; "": not known.
	leaderAccount string
	// leader enters the PIN of such a link. Set by findLeader, when the link needs one.
	leader leader
	// waitsFor is why there is no leader to enter it; nil: there is, or none is needed. Set by findLeader.
	waitsFor *obstacle

	// obstacle stopped the steps; nil: all of them ran.
	obstacle *obstacle
	// queuedTime is when the link began to wait for a PIN; zero: it does not wait. Set by mintPIN.
	queuedTime time.Time
	// pausedUntil is the end of a pause that plex.tv asked for, if it is longer than a poll may wait. Set by pollPIN.
	pausedUntil time.Time
	// secretSynced means that the target Secret was found, or made, as it should be. Set by syncSecret.
	secretSynced bool
	// secretExists means that the target Secret exists, as far as the cache knows. Set by loadState.
	secretExists bool

	// requeueAfter is the earliest wish of a step; 0: none.
	requeueAfter time.Duration
	// notices are what happened, to be told as events.
	notices []notice
}

// requeue asks for another reconciliation after d; the earliest wish wins.
func (s *scope) requeue(d time.Duration) {
	d = max(d, time.Millisecond)
	if s.requeueAfter == 0 || d < s.requeueAfter {
		s.requeueAfter = d
	}
}

// tell notes what happened.
func (s *scope) tell(n notice) { s.notices = append(s.notices, n) }

// pace is the name under which the pace knows the link.
func (s *scope) pace() pace.Link { return paceLink(s.name) }

// settled reports whether token and address are proven for the link's spec.server.
func (s *scope) settled() bool { return s.state.settled(serverSpecKey(s.link.Spec.Server)) }

// wrongAccount reports whether the token belongs to an account that spec.account does not ask for.
func (s *scope) wrongAccount() bool {
	return s.state.authorized() && s.state.Account != (plex.Account{}) && !s.accepts(s.state.Account)
}

// account is the one that the link has to belong to: that of spec.account, or of the link that it refers to.
func (s *scope) account() v1alpha1.AccountSpec {
	spec := s.link.Spec.Account
	if spec.LinkRef != nil {
		spec.UUID = s.leaderAccount
	}
	return spec
}

// accepts reports whether the link may belong to an account.
func (s *scope) accepts(account plex.Account) bool {
	wanted := s.account()
	return account.Matches(wanted.Username, wanted.UUID)
}

// wantsPIN reports whether a person has to enter a PIN.
func (s *scope) wantsPIN() bool { return !s.state.authorized() || s.state.Relink || s.wrongAccount() }

// urgency of the requests for the account and its servers.
func (s *scope) urgency() pace.Urgency {
	if s.settled() {
		return pace.Refresh
	}
	return pace.Entered
}

// plexDevice is what plex.tv and the server are told about this link.
func (s *scope) plexDevice() plex.Device {
	d := s.memory.identity
	d.ClientIdentifier = s.state.ClientIdentifier
	return d
}

// identityOf is what plex.tv is told about a link, but for its client identifier.
func identityOf(link *v1alpha1.PlexLink, version string) plex.Device {
	d := plex.Device{Product: link.Spec.Device.Product, Name: link.Spec.Device.Name, Version: version}
	if d.Product == "" {
		d.Product = "PlexLink"
	}
	if d.Name == "" {
		d.Name = link.Name + " (" + link.Namespace + ")"
	}
	return d
}

// requestOf returns the value of an annotation that asks for something; one that is too long asks for nothing.
func requestOf(link *v1alpha1.PlexLink, annotation string) string {
	value := link.Annotations[annotation]
	if tooLong(value) {
		return ""
	}
	return value
}

// newLinkRequest returns the value of the annotation that asks for a new PIN, if it was not acted on yet.
func (s *scope) newLinkRequest() string {
	if value := requestOf(s.link, v1alpha1.LinkRequestedAtAnnotation); value != s.state.LinkRequest {
		return value
	}
	return ""
}

// tooLong reports whether the value of an annotation is longer than what is acted on.
func tooLong(value string) bool { return len([]rune(value)) > v1alpha1.MaxRequestLength }

package controller

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/pace"
	"plexlink.dev/operator/internal/plex"
)

// scope holds what one reconciliation knows. The steps record their findings here; deriveStatus turns them into the status.
type scope struct {
	// link is the PlexLink as it was read. Only keepFinalizer replaces it.
	link *v1alpha1.PlexLink
	// name of the PlexLink.
	name types.NamespacedName
	// now is the time of this reconciliation.
	now time.Time
	// memory is the entry of the link.
	memory *entry

	// state of the link: set by loadState, changed by transitions, stored by save.
	state state
	// stored is the state that the device Secret holds: set by loadState and save.
	stored state
	// device is the version of the device Secret that holds stored; zero if there is none. Set by loadState and save.
	device secretVersion

	// loaded means that state is that of the link. Set by loadState.
	loaded bool

	// lent is what the link lent to its followers before this reconciliation.
	lent lending
	// leaderAccount is the uuid of the account that a link with spec.account.linkRef has to belong to; "": not known.
	leaderAccount string
	// leader enters the PIN of such a link. Set by findLeader if the link needs a PIN.
	leader leader
	// waitsFor is why there is no leader to enter it; nil if there is one or none is needed. Set by findLeader.
	waitsFor *obstacle

	// obstacle stopped the steps; nil if all of them ran.
	obstacle *obstacle
	// queuedTime is when the link began to wait for a PIN; zero if it does not wait. Set by mintPIN.
	queuedTime time.Time
	// pausedUntil is the end of a pause that plex.tv requested, if it is longer than a poll may wait. Set by pollPIN.
	pausedUntil time.Time
	// secretSynced means that the target Secret is as desired. Set by syncSecret.
	secretSynced bool
	// secretExists means that the target Secret is in the cache. Set by loadState.
	secretExists bool

	// requeueAfter is the shortest delay that a step requested; 0 if none did.
	requeueAfter time.Duration
	// notices are the events to record.
	notices []notice
}

// requeue requests another reconciliation after d; the shortest delay wins.
func (s *scope) requeue(d time.Duration) {
	d = max(d, time.Millisecond)
	if s.requeueAfter == 0 || d < s.requeueAfter {
		s.requeueAfter = d
	}
}

// tell adds an event to record.
func (s *scope) tell(n notice) { s.notices = append(s.notices, n) }

// pace is the name under which the pace knows the link.
func (s *scope) pace() pace.Link { return paceLink(s.name) }

// settled reports whether the token and an address are proven for the present spec.server.
func (s *scope) settled() bool { return s.state.settled(serverSpecKey(s.link.Spec.Server)) }

// wrongAccount reports whether the token belongs to an account that does not match spec.account.
func (s *scope) wrongAccount() bool {
	return s.state.authorized() && s.state.Account != (plex.Account{}) && !s.accepts(s.state.Account)
}

// account returns the account that the link has to belong to: that of spec.account, or of the link that it refers to.
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

// urgency returns the urgency of requests for the account and its servers.
func (s *scope) urgency() pace.Urgency {
	if s.settled() {
		return pace.Refresh
	}
	return pace.Entered
}

// plexDevice returns the device that plex.tv and the server see.
func (s *scope) plexDevice() plex.Device {
	d := s.memory.identity
	d.ClientIdentifier = s.state.ClientIdentifier
	return d
}

// identityOf returns the device that plex.tv sees, without its client identifier.
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

// requestOf returns the value of a request annotation, or "" if it is too long.
func requestOf(link *v1alpha1.PlexLink, annotation string) string {
	value := link.Annotations[annotation]
	if tooLong(value) {
		return ""
	}
	return value
}

// newLinkRequest returns the value of the annotation that requests a new PIN, or "" if it was handled.
func (s *scope) newLinkRequest() string {
	if value := requestOf(s.link, v1alpha1.LinkRequestedAtAnnotation); value != s.state.LinkRequest {
		return value
	}
	return ""
}

// tooLong reports whether the value of an annotation is too long to be handled.
func tooLong(value string) bool { return len([]rune(value)) > v1alpha1.MaxRequestLength }

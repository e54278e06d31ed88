package controller

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
)

// scope is what one reconciliation knows. The steps act and leave here what they learnt; deriveStatus turns it into
// the status.
type scope struct {
	// link is the PlexLink as it was read. No step changes it.
	link *v1alpha1.PlexLink
	// isNew says that this reconciliation is the first: the finalizer was put on just now.
	isNew bool
	// now is the time of this reconciliation.
	now time.Time

	// device is the state of the link. It is changed in memory and stored by saveDevice.
	device device
	// stored is the state as it was last read or written.
	stored device
	// deviceSecret holds the stored state; nil while there is none.
	deviceSecret *corev1.Secret

	// place in the queue for a PIN, from 1; 0: not in the queue.
	place int
	// plexErr is why a PIN could not be minted; nil: it could, or it was not tried.
	plexErr error

	// resolved says that plex.tv and the server were asked this time: servers, proof and serverErr are news.
	resolved bool
	// servers of the account.
	servers []plex.Server
	// serverErr is why no address is proven; nil: one is.
	serverErr error

	// conflict is the name of a Secret that is in the way.
	conflict string
	// templateErr is why spec.secret.template cannot be rendered.
	templateErr error
	// refused is why the API server does not take the Secret.
	refused error
	// secretInPlace says that the Secret has what it should.
	secretInPlace bool

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

// authorized says that the link has a token that is not known to be invalid.
func (s *scope) authorized() bool {
	return s.device.Token != "" && !s.device.TokenRevoked
}

// settled says that the token and spec.server have been proven at an address.
func (s *scope) settled() bool {
	d := s.device
	return d.Server != nil && !d.Unproven && d.Server.Spec == serverSpecKey(s.link.Spec.Server)
}

// urgency of the requests for the account and its servers.
func (s *scope) urgency() urgency {
	if s.settled() {
		return refresh
	}
	return entered
}

// plexDevice is what plex.tv and the server are told about this link.
func (s *scope) plexDevice(version string) plex.Device {
	d := plex.Device{
		ClientIdentifier: s.device.ClientIdentifier,
		Product:          s.link.Spec.Device.Product,
		Name:             s.link.Spec.Device.Name,
		Version:          version,
	}
	if d.Product == "" {
		d.Product = "PlexLink"
	}
	if d.Name == "" {
		d.Name = s.link.Name + " (" + s.link.Namespace + ")"
	}
	return d
}

// secretName is the name of the Secret that media apps use.
func secretName(link *v1alpha1.PlexLink) string {
	if link.Spec.Secret.Name != "" {
		return link.Spec.Secret.Name
	}
	return link.Name
}

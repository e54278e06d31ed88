package plex

import "net/http"

// Device is how a link appears to Plex and to the person, under Authorized Devices. The client identifier is made once
// and used on every call for ever: plex.tv keeps one token per account and client identifier.
type Device struct {
	ClientIdentifier Sensitive
	Product          string
	Version          string
	Name             string
}

// platform is sent as X-Plex-Platform and X-Plex-Device.
const platform = "Kubernetes"

// describe sets the headers that plex.tv wants on every request.
func (d Device) describe(h http.Header) {
	h.Set("X-Plex-Client-Identifier", d.ClientIdentifier.Reveal())
	h.Set("X-Plex-Product", d.Product)
	h.Set("X-Plex-Version", d.Version)
	h.Set("X-Plex-Platform", platform)
	h.Set("X-Plex-Device", platform)
	h.Set("X-Plex-Device-Name", d.Name)
}

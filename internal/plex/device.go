package plex

import "net/http"

// Device is how a link identifies itself to Plex, and how a person sees it under Authorized Devices. The client
// identifier is created once and used for every call: plex.tv keeps one token per account and client identifier.
type Device struct {
	ClientIdentifier Sensitive
	Product          string
	Version          string // of the operator
	Name             string
}

// platform is sent as X-Plex-Platform and X-Plex-Device.
const platform = "Kubernetes"

// describe sets the headers that plex.tv requires on every request.
func (d Device) describe(h http.Header) {
	h.Set("X-Plex-Client-Identifier", d.ClientIdentifier.Reveal())
	h.Set("X-Plex-Product", d.Product)
	h.Set("X-Plex-Version", d.Version)
	h.Set("X-Plex-Platform", platform)
	h.Set("X-Plex-Device", platform)
	h.Set("X-Plex-Device-Name", d.Name)
}

// userAgent returns the User-Agent for every request. Bot filters in front of plex.tv and media servers block Go's
// default.
func (d Device) userAgent() string {
	if d.Version == "" {
		return "PlexLink"
	}
	return "PlexLink/" + d.Version
}

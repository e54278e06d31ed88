package plex

import (
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
)

const libraryPath = "/library/sections"

var (
	errOther   = errors.New("it does not answer like this media server")
	errRefused = errors.New("it refuses the token")
)

// identity is what a media server reveals about itself without a token.
type identity struct {
	machineIdentifier string
	version           string
}

// identify returns the identity of the server at the URL. It sends nothing that identifies the device: the server is not
// proven yet. Any other server than the one asked for is an error.
func (p *Prober) identify(ctx context.Context, d Device, base, machineIdentifier string) (identity, error) {
	a, err := p.ask(ctx, base, "/identity", d, "")
	switch {
	case err != nil:
		return identity{}, err
	case a.status == http.StatusNotFound:
		return identity{}, errOther
	case a.status != http.StatusOK:
		return identity{}, fmt.Errorf("HTTP %d", a.status)
	}
	id, err := decodeIdentity(a.body)
	if err == nil && id.machineIdentifier != machineIdentifier {
		err = errOther
	}
	return id, err
}

// checkToken returns nil if the server at the URL, whose identity must be known already, accepts the token.
func (p *Prober) checkToken(ctx context.Context, d Device, base string, token Sensitive) error {
	if token == "" {
		return fmt.Errorf("%w: plex.tv sent none for it", errRefused)
	}
	a, err := p.ask(ctx, base, libraryPath, d, token)
	switch {
	case err != nil:
		return err
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
		return errRefused
	case a.status != http.StatusOK:
		return fmt.Errorf("HTTP %d", a.status)
	}
	return nil
}

// isOpen reports whether the server at the URL serves its library without a token.
func (p *Prober) isOpen(ctx context.Context, d Device, base string) bool {
	a, err := p.ask(ctx, base, libraryPath, d, "")
	return err == nil && a.status == http.StatusOK
}

// ask sends one request to a media server. It describes the device only together with a token.
func (p *Prober) ask(ctx context.Context, base, path string, d Device, token Sensitive) (answer, error) {
	u, err := parseBase(base)
	if err != nil {
		return answer{}, err
	}
	timeout := cmp.Or(p.timeout, requestTimeout)
	if token != "" {
		timeout = cmp.Or(p.libraryTimeout, libraryTimeout)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String()+path, nil)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("User-Agent", d.userAgent())
	if token != "" {
		d.describe(req.Header)
		req.Header.Set("X-Plex-Token", token.Reveal())
	}
	return exchange(p.transport(), req, nil, d.ClientIdentifier, token)
}

// decodeIdentity reads the JSON or the XML form of /identity.
func decodeIdentity(body []byte) (identity, error) {
	var wire struct {
		MediaContainer struct {
			MachineIdentifier text `json:"machineIdentifier"`
			Version           text `json:"version"`
		}
	}
	var doc struct {
		XMLName           xml.Name `xml:"MediaContainer"`
		MachineIdentifier string   `xml:"machineIdentifier,attr"`
		Version           string   `xml:"version,attr"`
	}
	id := identity{}
	if unmarshal(body, '{', &wire) == nil {
		id = identity{string(wire.MediaContainer.MachineIdentifier), string(wire.MediaContainer.Version)}
	} else if xml.Unmarshal(body, &doc) == nil {
		id = identity{doc.MachineIdentifier, doc.Version}
	}
	if id.machineIdentifier == "" {
		return identity{}, errOther
	}
	id.version = clip(id.version)
	return id, nil
}

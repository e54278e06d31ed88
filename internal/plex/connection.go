package plex

import (
	"cmp"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Location is the kind of network that plex.tv reports for a connection.
type Location string

// The locations. Local is a private address in the server's own network; for a shared server that is the network of its
// owner.
const (
	Local  Location = "Local"
	Remote Location = "Remote"
	Relay  Location = "Relay"
)

// Preferences select and rank the addresses of a server.
type Preferences struct {
	Locations []Location // best first; empty: Local
	Schemes   []string   // best first, in lower case; empty: https, http
}

// Candidate is an address at which a server may answer.
type Candidate struct {
	URL      string // http or https, without a trailing slash, user, query or fragment
	Location Location
}

// maxCandidates bounds how many addresses are probed at once. The 30 of a server with 15 local addresses, the most seen,
// fit.
const maxCandidates = 32

// Candidates returns the addresses at which the server may answer, best first: by location, then by scheme, then in the
// order of the server's list. Each connection yields up to three: its uri, which has the name in the certificate (https
// to the bare address fails by design); the uri with the connection's port if it has none (the port of a custom access
// URL may be the scheme's default or the one listed); and http://address:port, which works where the uri's name does not
// resolve. A server that requires https has no http candidates.
func Candidates(s Server, p Preferences) []Candidate {
	if len(p.Locations) == 0 {
		p.Locations = []Location{Local}
	}
	if len(p.Schemes) == 0 {
		p.Schemes = []string{"https", "http"}
	}
	type ranked struct {
		Candidate
		location, scheme int
	}
	var found []ranked
	for _, c := range s.Connections {
		location := slices.Index(p.Locations, c.location())
		for _, u := range c.urls() {
			scheme := slices.Index(p.Schemes, u.Scheme)
			if location < 0 || scheme < 0 || (u.Scheme == "http" && s.HTTPSRequired) {
				continue
			}
			found = append(found, ranked{Candidate{URL: u.String(), Location: c.location()}, location, scheme})
		}
	}
	slices.SortStableFunc(found, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.location, b.location), cmp.Compare(a.scheme, b.scheme))
	})
	var candidates []Candidate
	for _, f := range found {
		known := slices.ContainsFunc(candidates, func(c Candidate) bool { return c.URL == f.URL })
		if !known && len(candidates) < maxCandidates {
			candidates = append(candidates, f.Candidate)
		}
	}
	return candidates
}

func (c Connection) location() Location {
	switch {
	case c.Relay:
		return Relay
	case c.Local:
		return Local
	default:
		return Remote
	}
}

// urls returns the URLs at which the connection can be tried. Unusable ones are left out.
func (c Connection) urls() []*url.URL {
	var urls []*url.URL
	hasPort := c.Port > 0 && c.Port < 1<<16
	port := strconv.Itoa(c.Port)
	if u, err := parseBase(c.URI); err == nil {
		urls = append(urls, u)
		if u.Port() == "" && hasPort && port != defaultPort(u.Scheme) {
			with := *u
			with.Host = net.JoinHostPort(u.Hostname(), port)
			urls = append(urls, &with)
		}
	}
	if address := strings.Trim(c.Address, "[]"); address != "" && hasPort {
		if u, err := parseBase("http://" + net.JoinHostPort(address, port)); err == nil && u.Path == "" {
			urls = append(urls, u)
		}
	}
	return urls
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

package plex

import (
	"cmp"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Location is what plex.tv says about where a connection leads.
type Location string

// The locations. Local means private addresses as the server sees itself; on a server shared by somebody else that is
// their network.
const (
	Local  Location = "Local"
	Remote Location = "Remote"
	Relay  Location = "Relay"
)

// Preferences tell which connections may be used and which are better.
type Preferences struct {
	Locations []Location // best first; empty: Local
	Schemes   []string   // best first; empty: https, http
}

// Candidate is an address at which a server may answer.
type Candidate struct {
	URL      string // http or https, without trailing slash, user, query and fragment
	Location Location
}

// maxCandidates bounds what is probed at once. Of a server with 15 local addresses, the most seen, all 30 fit.
const maxCandidates = 32

// Candidates lists where the server may be found, best first: by location, then by scheme, then in the order of the
// server's list. A connection stands for its uri as it is (the name in a certificate: https to the bare address fails
// by design), for the same with the connection's port if the uri names none (a custom access URL, whose port may be
// the scheme's default or the one listed), and for http://address:port, which works where the uri's name does not
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

// urls are the forms in which the connection can be tried; what is no usable URL is left out.
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

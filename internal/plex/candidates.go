package plex

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Location is the kind of network that an address is in.
type Location string

// The locations. Local is a private address in the server's own network; for a shared server that is the network of its
// owner.
const (
	Cluster Location = "Cluster" // a Service of this cluster
	Local   Location = "Local"
	Remote  Location = "Remote"
	Relay   Location = "Relay"
)

// Preferences select and rank the addresses of a server.
type Preferences struct {
	Locations     []Location            // best first; empty: Cluster, Local
	Schemes       []string              // best first, lower case; empty: https, http, but http to public addresses not at all
	InUse         string                // URL that stays among equals
	Namespace     string                // of the link: its own Services are better than others
	ClusterDomain string                // such as cluster.local; "": not known
	Services      []Service             // of this cluster, with backends that the server advertises
	IsPod         func(netip.Addr) bool // reports whether it is the address of a Pod of this cluster; nil: none is
}

// Service is a port of a Kubernetes Service.
type Service struct {
	Namespace, Name string
	Port            int              // of the Service
	Backends        []netip.AddrPort // all ready endpoints behind that port
}

// Candidate is an address at which a server may answer.
type Candidate struct {
	URL      string // http or https, without a trailing slash, user, query or fragment
	Location Location
	Pod      bool // the address of a Pod, which goes away with it
	Tier     int  // lower is better; candidates of one tier are equally good
}

// Omitted counts the connections that yield no candidate because of the preferences.
type Omitted struct{ ByLocation, ByScheme int }

// Candidates returns the addresses at which the server may answer, best first: by location; within it addresses of Pods
// last, Services of the link's namespace first; then by scheme; then the one in use, then in the order of the server's
// list, then other Services. Candidates that differ in the last three respects only share a tier.
//
// Services are Cluster, by an advertised name or because the server advertises all of their backends; only an owned server
// may lead to them, or the owner of a shared one could name Services of this cluster. A private literal address is Local
// even if plex.tv calls it remote. A server that requires https has no http candidates.
func Candidates(s Server, p Preferences) ([]Candidate, Omitted) {
	if len(p.Locations) == 0 {
		p.Locations = []Location{Cluster, Local}
	}
	var found []ranked
	var omitted Omitted
	for _, c := range s.Connections {
		fits := map[fit]int{}
		for _, u := range c.urls() {
			r, fit := p.rank(s, c.location(u, p.ClusterDomain), u, c.ip(u))
			fits[fit]++
			if fit == usable {
				found = append(found, r)
			}
		}
		switch {
		case fits[usable] > 0:
		case fits[otherScheme] > 0:
			omitted.ByScheme++
		case fits[otherLocation] > 0:
			omitted.ByLocation++
		}
	}
	for _, u := range p.serviceURLs(s) {
		if r, fit := p.rank(s, Cluster, u, netip.Addr{}); fit == usable {
			found = append(found, r)
		}
	}
	slices.SortStableFunc(found, func(a, b ranked) int { return slices.Compare(a.ranks[:], b.ranks[:]) })
	var candidates []Candidate
	tier := 0
	for i, f := range found {
		if i > 0 && [tierRanks]int(f.ranks[:]) != [tierRanks]int(found[i-1].ranks[:]) {
			tier++
		}
		f.Tier = tier
		if !slices.ContainsFunc(candidates, func(c Candidate) bool { return c.URL == f.URL }) {
			candidates = append(candidates, f.Candidate)
		}
	}
	return candidates, omitted
}

// ranked is a candidate with its ranks by location, Pod, namespace, scheme and use, lower ones being better. The first
// tierRanks of them make its tier.
type ranked struct {
	Candidate
	ranks [tierRanks + 1]int
}

const tierRanks = 4

// fit is whether a URL fits the preferences.
type fit int

const (
	usable fit = iota
	unusable
	otherLocation
	otherScheme
)

// rank ranks a URL of the server at the location. The ip is that of its host and may be invalid.
func (p Preferences) rank(s Server, l Location, u *url.URL, ip netip.Addr) (ranked, fit) {
	schemes := p.Schemes
	if len(schemes) == 0 {
		schemes = []string{"https", "http"}
	}
	isPod := p.IsPod != nil && l != Cluster && ip.IsValid() && p.IsPod(ip)
	ownService := l == Cluster && strings.EqualFold(strings.Split(u.Hostname(), ".")[1], p.Namespace)
	r := ranked{
		Candidate{URL: u.String(), Location: l, Pod: isPod},
		[...]int{
			slices.Index(p.Locations, l), last(isPod), last(!ownService), slices.Index(schemes, u.Scheme), last(u.String() != p.InUse),
		},
	}
	switch {
	case u.Scheme == "http" && s.HTTPSRequired, !s.Owned && resolvesHereOnly(u.Hostname()):
		return r, unusable
	case r.ranks[0] < 0:
		return r, otherLocation
	case r.ranks[3] < 0, u.Scheme == "http" && len(p.Schemes) == 0 && isPublic(l, ip):
		return r, otherScheme
	}
	return r, usable
}

// last returns 1 if a candidate is worse than others, else 0.
func last(worse bool) int {
	if worse {
		return 1
	}
	return 0
}

// isPublic reports whether requests to the address may leave private networks.
func isPublic(l Location, ip netip.Addr) bool {
	return l == Remote || l == Relay || l == Local && ip.IsGlobalUnicast() && !ip.IsPrivate()
}

// location returns the location of the URL, which is one of the connection's.
func (c Connection) location(u *url.URL, clusterDomain string) Location {
	switch {
	case c.Relay:
		return Relay
	case isService(u.Hostname(), clusterDomain):
		return Cluster
	case c.Local, c.ip(u).IsPrivate():
		return Local
	default:
		return Remote
	}
}

// isService reports whether the host is NAME.NAMESPACE.svc, or that within the cluster domain.
func isService(host, clusterDomain string) bool {
	labels := strings.SplitN(strings.ToLower(strings.TrimSuffix(host, ".")), ".", 4)
	return len(labels) >= 3 && labels[0] != "" && labels[1] != "" && labels[2] == "svc" &&
		(len(labels) == 3 || clusterDomain != "" && labels[3] == strings.ToLower(clusterDomain))
}

// resolvesHereOnly reports whether the host is a name that resolves in this cluster only, or to something else than
// elsewhere.
func resolvesHereOnly(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return !strings.ContainsAny(host, ".:") || strings.Contains(host+".", ".svc.")
}

// serviceURLs returns the URLs of the Services of which the server advertises every backend.
func (p Preferences) serviceURLs(s Server) []*url.URL {
	if p.ClusterDomain == "" {
		return nil
	}
	services := slices.SortedFunc(slices.Values(p.Services), func(a, b Service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Port, b.Port))
	})
	var urls []*url.URL
	advertised := s.Addresses()
	for _, service := range services {
		isOther := func(backend netip.AddrPort) bool {
			return !slices.Contains(advertised, netip.AddrPortFrom(backend.Addr().Unmap(), backend.Port()))
		}
		if len(service.Backends) == 0 || slices.ContainsFunc(service.Backends, isOther) {
			continue
		}
		u, err := parseBase(fmt.Sprintf("http://%s.%s.svc.%s:%d", service.Name, service.Namespace, p.ClusterDomain, service.Port))
		if err == nil && isService(u.Hostname(), p.ClusterDomain) {
			urls = append(urls, u)
		}
	}
	return urls
}

package plex

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Connection is an address that a server advertises.
type Connection struct {
	Address string
	Port    int
	URI     string
	Local   bool // private in the server's own network, which may not be reachable from here
	Relay   bool
}

// Addresses returns the literal addresses, with their ports, that the server advertises, each once and without zones. IPv4
// addresses that are mapped to IPv6 are returned as IPv4 addresses.
func (s Server) Addresses() []netip.AddrPort {
	var all []netip.AddrPort
	add := func(ip netip.Addr, port int) {
		if a := netip.AddrPortFrom(ip, uint16(port)); ip.IsValid() && port > 0 && port < 1<<16 && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	for _, c := range s.Connections {
		if c.Relay {
			continue
		}
		for _, u := range c.urls() {
			port, _ := strconv.Atoi(portOf(u)) // parseBase has checked it
			add(literal(u.Hostname()), port)
		}
		add(literal(c.Address), c.Port)
	}
	return all
}

// urls returns the URLs at which the connection can be tried: its uri, which has the name in the certificate (https to the
// bare address fails by design); the uri with the connection's port if it has none (the port of a custom access URL may be
// the scheme's default or the one listed); and http://address:port, which works where the uri's name does not resolve.
// Unusable ones are left out.
func (c Connection) urls() []*url.URL {
	var urls []*url.URL
	hasPort := c.Port > 0 && c.Port < 1<<16
	port := strconv.Itoa(c.Port)
	if u, err := parseBase(c.URI); err == nil {
		urls = append(urls, u)
		if hasPort && u.Port() == "" && port != portOf(u) {
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

// portOf returns the port of the URL, or that of its scheme.
func portOf(u *url.URL) string {
	switch port := u.Port(); {
	case port != "":
		return port
	case u.Scheme == "https":
		return "443"
	default:
		return "80"
	}
}

// ip returns the literal address of the URL, which is one of the connection's, or else of the connection: the names of
// plex.direct stand for it. It is not valid if neither has one.
func (c Connection) ip(u *url.URL) netip.Addr {
	if ip := literal(u.Hostname()); ip.IsValid() {
		return ip
	}
	return literal(c.Address)
}

// literal parses the text as an IP address; the result is not valid if it is a name.
func literal(host string) netip.Addr {
	ip, _ := netip.ParseAddr(strings.Trim(host, "[]"))
	return ip.Unmap().WithZone("")
}

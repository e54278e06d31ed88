package plextest

import (
	"cmp"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// directDomain is the domain of servers' https addresses. Real ones are in plex.direct; a test must not send DNS queries to
// Plex.
const directDomain = ".plex.direct.test"

// Connection is one address under which a server is advertised. It is sent verbatim, empty fields too.
type Connection struct {
	Protocol string
	Address  string
	Port     int
	URI      string
	Local    bool
	Relay    bool // sent only with includeRelay=1
	IPv6     bool // sent only with includeIPv6=1
}

// LocalConnection returns the connection that plex.tv would list for a local address, from its URI. The address of
// https://192-168-1-100.HASH.plex.direct:32400 is 192.168.1.100.
func LocalConnection(uri string) Connection {
	u, err := url.Parse(uri)
	if err != nil {
		panic(err)
	}
	port, _ := strconv.Atoi(cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme]))
	address := u.Hostname()
	if label, _, ok := strings.Cut(address, ".plex.direct"); ok {
		first, _, _ := strings.Cut(label, ".")
		if address = strings.ReplaceAll(first, "-", "."); net.ParseIP(address) == nil {
			address = strings.ReplaceAll(first, "-", ":")
		}
	}
	ip := net.ParseIP(address)
	return Connection{
		Protocol: u.Scheme, Address: address, Port: port, URI: uri, Local: true, IPv6: ip != nil && ip.To4() == nil,
	}
}

// device is a phone, player or app of an account.
type device struct {
	account          *Account
	name             string
	product          string
	provides         string // an app that never sent X-Plex-Provides has none
	clientIdentifier string
	createdAt        time.Time
	number           int    // under Authorized Devices
	token            string // of an app that was linked here
}

// AddDevice adds a device that is no server to an account: a phone, a player. provides is a comma-separated list such
// as "client,player"; for the sake of realism it may contain "media-server-controller", which is not a server either.
func (s *Simulator) AddDevice(a *Account, name, provides string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastDevice++
	s.devices = append(s.devices, device{
		account: a, name: name, product: "Plex for Android", provides: provides, clientIdentifier: hexText(12),
		createdAt: s.clock.Now(), number: s.lastDevice,
	})
}

// AddGhostDevices adds n devices that another tool has left behind, one for each of its starts.
func (s *Simulator) AddGhostDevices(a *Account, n int) {
	for range n {
		s.AddDevice(a, "A tool that takes a new client identifier whenever it is started", "player,pubsub-player,controller")
	}
}

// devicesOf returns the account's own devices, then the apps that it has linked, oldest first.
func (s *Simulator) devicesOf(a *Account) []device {
	var all []device
	for _, d := range s.devices {
		if d.account == a {
			all = append(all, d)
		}
	}
	byAge := func(a, b *grant) int { return cmp.Compare(a.number, b.number) }
	for _, g := range slices.SortedFunc(maps.Values(s.grants), byAge) {
		if g.account == a {
			all = append(all, device{a, g.deviceName, g.product, g.provides, g.clientIdentifier, g.createdAt, g.number, g.token})
		}
	}
	return all
}

// resources lists the account's servers, those shared with it, and everything else that provides something.
func (s *Simulator) resources(c *call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.replyList(http.StatusOK, s.resourcesOf(c), "resources")
}

func (s *Simulator) resourcesOf(c *call) list {
	var all list
	for _, m := range s.servers {
		if m.admits(c.grant.account) {
			all.items = append(all.items, s.serverResource(c, m))
		}
	}
	for _, d := range s.devicesOf(c.grant.account) {
		if d.provides != "" {
			all.items = append(all.items, playerResource(d))
		}
	}
	return all
}

func (s *Simulator) serverResource(c *call, m *MediaServer) object {
	owned := m.server.Owner == c.grant.account
	token := c.grant.token
	var ownerID, sourceTitle any
	if !owned {
		ownerID, sourceTitle = m.server.Owner.ID, m.server.Owner.Username
		token = s.accessToken(c.grant, m)
	}
	return object{"resource", []field{
		{"name", m.server.Name}, {"product", "Plex Media Server"}, {"productVersion", m.server.Version},
		{"platform", "Linux"}, {"platformVersion", "12 (bookworm)"}, {"device", "PC"},
		{"clientIdentifier", m.MachineIdentifier}, {"createdAt", timestamp(m.createdAt)},
		{"lastSeenAt", timestamp(s.clock.Now())}, {"provides", "server"}, {"ownerId", ownerID},
		{"sourceTitle", sourceTitle}, {"publicAddress", "203.0.113.7"}, {"accessToken", token}, {"owned", owned},
		{"home", false}, {"synced", false}, {"relay", true}, {"presence", true},
		{"httpsRequired", m.server.HTTPSRequired}, {"publicAddressMatches", owned}, {"dnsRebindingProtection", false},
		{"natLoopbackSupported", false}, {"connections", m.connections(c)},
	}}
}

// accessToken is the token to a shared server. It differs from the account's and dies with it.
func (s *Simulator) accessToken(g *grant, m *MediaServer) string {
	token := g.accessTokens[m]
	if token == "" {
		token = newToken()
		g.accessTokens[m] = token
		s.serverTokens[token] = &serverGrant{g, m}
		s.addSecret(token)
	}
	return token
}

// connections are the advertised ones that the caller asked for.
func (m *MediaServer) connections(c *call) list {
	connections := m.server.Connections
	if connections == nil {
		connections = []Connection{LocalConnection(m.URL)}
		if asksFor(c, "includeHttps") && m.HTTPSURL != "" {
			direct := LocalConnection("https://" + m.DirectName(connections[0].Address) + ":" + strconv.Itoa(connections[0].Port))
			connections = []Connection{direct}
		}
	}
	var l list
	for _, con := range connections {
		if con.Relay && !asksFor(c, "includeRelay") || con.IPv6 && !asksFor(c, "includeIPv6") {
			continue
		}
		l.items = append(l.items, object{"connection", []field{
			{"protocol", con.Protocol}, {"address", con.Address}, {"port", con.Port}, {"uri", con.URI},
			{"local", con.Local}, {"relay", con.Relay}, {"IPv6", con.IPv6},
		}})
	}
	return l
}

func asksFor(c *call, parameter string) bool {
	return slices.Contains([]string{"1", "true"}, c.URL.Query().Get(parameter))
}

// playerResource has no dnsRebindingProtection and no natLoopbackSupported: they are absent, not null.
func playerResource(d device) object {
	return object{"resource", []field{
		{"name", d.name}, {"product", d.product}, {"productVersion", nil}, {"platform", nil}, {"platformVersion", nil},
		{"device", nil}, {"clientIdentifier", d.clientIdentifier}, {"createdAt", timestamp(d.createdAt)},
		{"lastSeenAt", timestamp(d.createdAt)}, {"provides", d.provides}, {"ownerId", nil}, {"sourceTitle", nil},
		{"publicAddress", "203.0.113.7"}, {"accessToken", nil}, {"owned", true}, {"home", false}, {"synced", false},
		{"relay", false}, {"presence", false}, {"httpsRequired", false}, {"publicAddressMatches", true},
		{"connections", list{}},
	}}
}

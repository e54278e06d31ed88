package plextest

import (
	"cmp"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// directDomain is where the names of servers' https addresses lie. Real ones are in plex.direct; a test must not send
// DNS queries to Plex.
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

// LocalConnection makes the connection that plex.tv would list for a local address, from its URI. The address of
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

// device is a phone or player of an account.
type device struct {
	account          *Account
	name             string
	provides         string
	clientIdentifier string
	createdAt        time.Time
}

// AddDevice adds a device that is no server to an account: a phone, a player. provides is a comma-separated list such
// as "client,player"; for the sake of realism it may contain "media-server-controller", which is not a server either.
func (s *Simulator) AddDevice(a *Account, name, provides string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.devices = append(s.devices, device{a, name, provides, hexText(12), s.clock.Now()})
}

// resources lists all devices of the account: its servers, those shared with it, players, and what it has linked.
func (s *Simulator) resources(c *call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn++
	var all list
	for _, m := range s.servers {
		if m.admits(c.grant.account) {
			all.items = append(all.items, s.serverResource(c, m))
		}
	}
	for _, d := range s.devices {
		if d.account == c.grant.account {
			all.items = append(all.items,
				playerResource(d.name, "Plex for Android", d.clientIdentifier, d.provides, d.createdAt))
		}
	}
	byAge := func(a, b *grant) int { return cmp.Or(a.createdAt.Compare(b.createdAt), cmp.Compare(a.token, b.token)) }
	for _, g := range slices.SortedFunc(maps.Values(s.grants), byAge) {
		if g.account == c.grant.account {
			all.items = append(all.items, playerResource(g.deviceName, g.product, g.clientIdentifier, "", g.createdAt))
		}
	}
	return c.replyList(http.StatusOK, all, "resources")
}

func (s *Simulator) serverResource(c *call, m *MediaServer) object {
	owned := m.server.Owner == c.grant.account
	token := c.token
	var ownerID, sourceTitle any
	if !owned {
		ownerID, sourceTitle = m.server.Owner.ID, m.server.Owner.Username
		token = s.accessToken(c.grant, m)
	}
	// Some answers have numbers for these two, as older servers report them.
	var httpsRequired, presence any = m.server.HTTPSRequired, true
	if s.turn%2 == 0 {
		httpsRequired, presence = json.Number(attribute(httpsRequired)), 1
	}
	return object{"resource", []field{
		{"name", m.server.Name}, {"product", "Plex Media Server"}, {"productVersion", m.server.Version},
		{"platform", "Linux"}, {"platformVersion", "12 (bookworm)"}, {"device", "PC"},
		{"clientIdentifier", m.MachineIdentifier}, {"createdAt", timestamp(m.createdAt)},
		{"lastSeenAt", timestamp(s.clock.Now())}, {"provides", "server"}, {"ownerId", ownerID},
		{"sourceTitle", sourceTitle}, {"publicAddress", "203.0.113.7"}, {"accessToken", token}, {"owned", owned},
		{"home", false}, {"synced", false}, {"relay", true}, {"presence", presence},
		{"httpsRequired", httpsRequired}, {"publicAddressMatches", owned}, {"dnsRebindingProtection", false},
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
		if asksFor(c, "includeHttps") {
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

func playerResource(name, product, clientIdentifier, provides string, createdAt time.Time) object {
	return object{"resource", []field{
		{"name", name}, {"product", product}, {"productVersion", nil}, {"platform", nil}, {"platformVersion", nil},
		{"device", nil}, {"clientIdentifier", clientIdentifier}, {"createdAt", timestamp(createdAt)},
		{"lastSeenAt", timestamp(createdAt)}, {"provides", provides}, {"ownerId", nil}, {"sourceTitle", nil},
		{"publicAddress", "203.0.113.7"}, {"accessToken", nil}, {"owned", true}, {"home", false}, {"synced", false},
		{"relay", false}, {"presence", false}, {"httpsRequired", false}, {"publicAddressMatches", true},
		{"dnsRebindingProtection", nil}, {"natLoopbackSupported", nil}, {"connections", list{}},
	}}
}

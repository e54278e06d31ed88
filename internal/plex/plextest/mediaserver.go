package plextest

import (
	"cmp"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Server describes a media server. The zero value is an unclaimed server, which accepts no token.
type Server struct {
	Name       string
	Owner      *Account   // nil: a foreign server, in no list
	SharedWith []*Account // accounts of others who may use it

	HTTPSRequired bool
	Connections   []Connection // advertised verbatim; nil: its own true address, local
	Version       string       // default 1.43.0.1234

	Delay                    time.Duration // before every answer, in real time
	Hangs                    bool          // takes connections and never answers
	SpinUp                   time.Duration // how long its disks take to wake, in real time: before the first library since it started
	CachesTokens             bool          // accepts a revoked token until it is restarted, if it has seen the token before
	AllowedWithoutAuth       bool          // accepts any token, and none: the client is in a network that is allowed without auth
	IncompleteChain          bool          // leaves out the intermediate certificate, as after a failed renewal
	ClaimedMachineIdentifier string        // a lie: what it says at /identity instead of the truth

	// Fixed once the server has been added:
	MachineIdentifier string // default random
	PathPrefix        string // serves below this path only, as behind a reverse proxy: /plex
	ListenAddr        string // default: a free port of 127.0.0.1
}

// MediaServer is a running media server. Like a real one it serves http and https on the same port.
type MediaServer struct {
	Name              string // as it was added
	MachineIdentifier string
	Addr              string // host:port it listens on
	URL               string // http, with the PathPrefix
	HTTPSURL          string // the same over https, with a certificate of Simulator.CertPool; empty with Options.HTTPOnly

	sim       *Simulator
	hash      string // the part of its https names that is its own
	createdAt time.Time
	number    int // under Authorized Devices

	// These are guarded by sim.mu.
	server Server
	seen   map[string]struct{} // tokens that were accepted since it started
	awake  bool                // its disks are

	mu   sync.Mutex
	http *http.Server // nil: stopped
}

// AddServer starts a media server. It panics when it cannot listen, with the error of net.Listen.
func (s *Simulator) AddServer(o Server) *MediaServer {
	o.Version = cmp.Or(o.Version, "1.43.0.1234")
	o.MachineIdentifier = cmp.Or(o.MachineIdentifier, hexText(20))
	o.PathPrefix = strings.TrimRight(o.PathPrefix, "/")
	l := listen(o.ListenAddr)
	addr := reachable(l)
	m := &MediaServer{
		Name: o.Name, MachineIdentifier: o.MachineIdentifier, Addr: addr, URL: "http://" + addr + o.PathPrefix,
		HTTPSURL: "https://" + addr + o.PathPrefix, sim: s, hash: hexText(16), createdAt: s.clock.Now(), server: o,
	}
	if s.httpOnly {
		m.HTTPSURL = ""
	}
	s.mu.Lock()
	s.lastDevice++
	m.number = s.lastDevice
	s.servers = append(s.servers, m)
	s.mu.Unlock()
	m.serve(l)
	return m
}

// DirectName is the name that the server's certificate has for one of its addresses, in the manner of plex.direct. It
// resolves nowhere but in a Network.
func (m *MediaServer) DirectName(address string) string {
	return strings.NewReplacer(".", "-", ":", "-").Replace(address) + "." + m.hash + directDomain
}

// Update changes the server: rename it, share it, let it hang. It sets its fields within change.
func (m *MediaServer) Update(change func(*Server)) {
	m.sim.mu.Lock()
	defer m.sim.mu.Unlock()
	change(&m.server)
}

// SetConnections changes what plex.tv advertises. None at all is an empty list, not the default.
func (m *MediaServer) SetConnections(connections ...Connection) {
	m.Update(func(s *Server) { s.Connections = append([]Connection{}, connections...) })
}

// Stop shuts the server down: its address refuses connections, and open ones are cut.
func (m *MediaServer) Stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.http != nil {
		m.http.Close()
		m.http = nil
	}
}

// Start starts a stopped server at the same address. It panics if the address has been taken.
func (m *MediaServer) Start() {
	m.mu.Lock()
	running := m.http != nil
	m.mu.Unlock()
	if !running {
		m.serve(listen(m.Addr))
	}
}

func (m *MediaServer) serve(l net.Listener) {
	m.sim.mu.Lock()
	m.seen, m.awake = map[string]struct{}{}, false
	m.sim.mu.Unlock()
	server := &http.Server{Handler: m.routes(), ErrorLog: log.New(io.Discard, "", 0)}
	m.mu.Lock()
	m.http = server
	m.mu.Unlock()
	if !m.sim.httpOnly {
		incomplete := func() bool { return m.state().IncompleteChain }
		l = newDualListener(l, m.sim.authority.issue("*."+m.hash+directDomain).config(incomplete))
	}
	go func() { _ = server.Serve(l) }()
}

func (m *MediaServer) routes() http.Handler {
	mux := http.NewServeMux()
	prefix := m.state().PathPrefix
	for path, endpoint := range map[string]Endpoint{
		"/identity": Identity, "/{$}": Root, "/library": Library, "/library/{$}": Library,
		"/library/sections": Sections, "/library/sections/{$}": Sections, "/library/sections/all": Sections,
	} {
		mux.HandleFunc("GET "+prefix+path, m.handle(endpoint))
	}
	mux.HandleFunc("/", m.handle(Unknown))
	return mux
}

func (m *MediaServer) handle(endpoint Endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		state := m.state()
		m.sim.serve(state.Name, endpoint, func(c *call) answer { return m.answer(state, endpoint, c) })(w, r)
	}
}

func (m *MediaServer) state() Server {
	m.sim.mu.Lock()
	defer m.sim.mu.Unlock()
	return m.server
}

func (m *MediaServer) answer(state Server, endpoint Endpoint, c *call) answer {
	if state.Hangs {
		<-c.Context().Done()
		return answer{}
	}
	if !pause(c.Request, state.Delay) || state.HTTPSRequired && c.TLS == nil {
		return answer{}
	}
	if endpoint == Unknown {
		return htmlPage(http.StatusNotFound)
	}
	if endpoint != Identity && !state.AllowedWithoutAuth && !m.accepts(c.token) {
		return htmlPage(http.StatusUnauthorized)
	}
	if endpoint == Sections && !m.wake(c.Request, state.SpinUp) {
		return answer{}
	}
	a := c.replyWrapped(http.StatusOK, m.container(state, endpoint))
	a.header.Set("X-Plex-Protocol", "1.0")
	a.header.Set("Content-Type", map[bool]string{true: "application/json", false: "text/xml;charset=utf-8"}[c.json])
	return a
}

// wake waits for the disks to spin up, and reports whether the caller is still connected. They spin up even if it is not.
func (m *MediaServer) wake(r *http.Request, spinUp time.Duration) bool {
	m.sim.mu.Lock()
	awake := m.awake
	m.sim.mu.Unlock()
	if awake || spinUp == 0 {
		return true
	}
	defer func() {
		m.sim.mu.Lock()
		defer m.sim.mu.Unlock()
		m.awake = true
	}()
	return pause(r, spinUp)
}

// accepts reports whether the token is valid here, or was when the server asked plex.tv about it.
func (m *MediaServer) accepts(token string) bool {
	m.sim.mu.Lock()
	defer m.sim.mu.Unlock()
	if _, seen := m.seen[token]; seen && m.server.CachesTokens {
		return true
	}
	valid := m.valid(token)
	if valid {
		m.seen[token] = struct{}{}
	}
	return valid
}

// valid reports whether plex.tv considers the token valid for this server: an account token of the owner, or one minted for
// this server.
func (m *MediaServer) valid(token string) bool {
	if sg := m.sim.serverTokens[token]; sg != nil {
		return sg.server == m && slices.Contains(m.server.SharedWith, sg.account)
	}
	g := m.sim.grants[token]
	return g != nil && g.account == m.server.Owner
}

// admits reports whether the server is in the account's list.
func (m *MediaServer) admits(a *Account) bool {
	return m.server.Owner != nil && (m.server.Owner == a || slices.Contains(m.server.SharedWith, a))
}

func (m *MediaServer) container(state Server, endpoint Endpoint) object {
	switch endpoint {
	case Identity:
		return container(0, field{"claimed", state.Owner != nil}, field{"version", state.Version},
			field{"machineIdentifier", cmp.Or(state.ClaimedMachineIdentifier, m.MachineIdentifier)})
	case Library:
		return container(3, []field{
			{"allowSync", false}, {"art", "/:/resources/library-art.png"}, {"content", ""},
			{"identifier", "com.plexapp.plugins.library"}, {"mediaTagPrefix", "/system/bundle/media/flags/"},
			{"mediaTagVersion", int(m.createdAt.Unix())}, {"title1", "Plex Library"}, {"title2", ""},
			directories(
				directory("sections", "Library Sections"), directory("recentlyAdded", "Recently Added Content"),
				directory("onDeck", "On Deck Content"),
			),
		}...)
	case Sections:
		return container(2, field{"allowSync", false}, field{"title1", "Plex Library"},
			directories(section(m, 1, "movie", "Movies"), section(m, 2, "show", "TV Shows")))
	default:
		return m.root(state)
	}
}

func (m *MediaServer) root(state Server) object {
	claimed := state.Owner != nil
	var owner any
	if claimed {
		owner = state.Owner.Email
	}
	return container(1, []field{
		{"allowCameraUpload", false}, {"allowChannelAccess", false}, {"allowMediaDeletion", false},
		{"allowSharing", true}, {"allowSync", false}, {"backgroundProcessing", true}, {"certificate", true},
		{"companionProxy", true}, {"diagnostics", "logs,databases"}, {"eventStream", true}, {"friendlyName", state.Name},
		{"hubSearch", true}, {"machineIdentifier", m.MachineIdentifier}, {"multiuser", true}, {"myPlex", claimed},
		{"myPlexMappingState", "mapped"}, {"myPlexSigninState", "ok"}, {"myPlexSubscription", false},
		{"myPlexUsername", owner}, {"ownerFeatures", ""}, {"photoAutoTag", true}, {"platform", "Linux"},
		{"platformVersion", "12 (bookworm)"}, {"pluginHost", false}, {"readOnlyLibraries", false},
		{"requestParametersInCookie", true}, {"streamingBrainVersion", 2}, {"sync", true},
		{"transcoderActiveVideoSessions", 0}, {"transcoderAudio", true}, {"transcoderLyrics", true},
		{"transcoderPhoto", true}, {"transcoderSubtitles", true}, {"transcoderVideo", true},
		{"transcoderVideoBitrates", "64,96,208,320"}, {"transcoderVideoQualities", "0,1,2,3"},
		{"transcoderVideoResolutions", "128,128,160,240"}, {"updatedAt", int(m.createdAt.Unix())}, {"updater", true},
		{"version", state.Version}, {"voiceSearch", true},
		directories(object{"Directory", []field{{"count", 1}, {"key", "library"}, {"title", "library"}}}),
	}...)
}

// container wraps every answer of media servers, and some old ones of plex.tv.
func container(size int, fields ...field) object {
	return object{"MediaContainer", append([]field{{"size", size}}, fields...)}
}

func directories(items ...object) field { return field{"Directory", list{items, true}} }

func directory(key, title string) object {
	return object{"Directory", []field{{"key", key}, {"title", title}}}
}

func section(m *MediaServer, number int, kind, title string) object {
	at, key := int(m.createdAt.Unix()), strconv.Itoa(number)
	return object{"Directory", []field{
		{"allowSync", true}, {"art", "/:/resources/" + kind + "-fanart.jpg"}, {"composite", "/library/sections/" + key + "/composite/1"},
		{"filters", true}, {"refreshing", false}, {"thumb", "/:/resources/" + kind + ".png"}, {"key", key}, {"type", kind},
		{"title", title}, {"agent", "tv.plex.agents." + kind}, {"scanner", "Plex Scanner"}, {"language", "en-US"},
		{"uuid", m.hash + key}, {"updatedAt", at}, {"createdAt", at}, {"scannedAt", at}, {"content", true},
		{"directory", true}, {"contentChangedAt", number}, {"hidden", 0},
		{"Location", list{bare: true, items: []object{{"Location", []field{{"id", number}, {"path", "/data/" + kind}}}}}},
	}}
}

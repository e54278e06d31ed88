package plextest

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/time/rate"
	"k8s.io/utils/clock"
)

// Options configure a Simulator. The zero value is ready to use.
type Options struct {
	Clock clock.PassiveClock // by which PINs expire; nil: the real one
	Addr  string             // where plex.tv listens; empty: a free port of 127.0.0.1
	Log   func(Request)      // called once a request, when it has been answered; may be nil

	HTTPOnly bool // plex.tv and media servers speak no https, and plex.tv lists http addresses even with includeHttps=1
}

// Simulator is one plex.tv with its accounts and media servers.
type Simulator struct {
	URL      string // base URL of plex.tv, without a path: http://127.0.0.1:34567
	HTTPSURL string // the same over https, with a certificate of Simulator.CertPool that names plex.tv too

	clock     clock.PassiveClock
	log       func(Request)
	authority *authority
	httpOnly  bool
	listener  net.Listener
	plexTV    *http.Server

	mu           sync.Mutex
	accounts     []*Account
	servers      []*MediaServer
	devices      []device
	pins         []*PIN
	grants       map[string]*grant       // by account token
	serverTokens map[string]*serverGrant // by access token to a shared server
	faults       []*Fault
	limit        Limit
	limiters     map[string]*rate.Limiter // by the address that requests come from
	requests     []*Request
	secrets      map[string]struct{}
	lastDevice   int // the number of the newest entry under Authorized Devices
}

// New starts plex.tv over http. Like httptest.NewServer it panics when it cannot listen, with the error of net.Listen.
func New(o Options) *Simulator {
	s := &Simulator{
		clock: o.Clock, log: o.Log, authority: newAuthority(), httpOnly: o.HTTPOnly,
		grants: map[string]*grant{}, serverTokens: map[string]*serverGrant{}, secrets: map[string]struct{}{},
	}
	if s.clock == nil {
		s.clock = clock.RealClock{}
	}
	s.listener = listen(o.Addr)
	s.URL, s.HTTPSURL = "http://"+reachable(s.listener), "https://"+reachable(s.listener)
	s.plexTV = &http.Server{Handler: s.routes(), ErrorLog: log.New(io.Discard, "", 0)}
	if o.HTTPOnly {
		s.HTTPSURL = ""
		go func() { _ = s.plexTV.Serve(s.listener) }()
		return s
	}
	chain := s.authority.issue("plex.tv", "clients.plex.tv")
	go func() { _ = s.plexTV.Serve(newDualListener(s.listener, chain.config(nil))) }()
	return s
}

// Close stops plex.tv and all media servers and cuts their connections.
func (s *Simulator) Close() {
	s.plexTV.Close()
	s.mu.Lock()
	servers := s.servers
	s.mu.Unlock()
	for _, m := range servers {
		m.Stop()
	}
}

func (s *Simulator) routes() http.Handler {
	mux := http.NewServeMux()
	for endpoint, h := range map[Endpoint]handler{
		CreatePIN: identified(s.createPIN),
		CheckPIN:  identified(s.checkPIN),
		LinkPIN:   s.signedIn(identified(s.linkPIN)), // The token is checked first.
		User:      s.signedIn(identified(s.user)),
		Ping:      s.signedIn(identified(s.ping)),
		SignOut:   s.signedIn(identified(s.signOut)),
		Resources: s.signedIn(identified(s.resources)),
	} {
		method, path := endpoint.split()
		mux.HandleFunc(method+" /api/v2"+path, s.serve(plexTVName, endpoint, h))
		if endpoint != LinkPIN { // its path is one of CheckPIN's
			mux.HandleFunc("/api/v2"+path, s.serve(plexTVName, Unknown, refuse(http.StatusMethodNotAllowed, codeMethod)))
		}
	}
	s.routeOld(mux)
	mux.HandleFunc("GET /link", s.serve(plexTVName, LinkPage, s.showLinkPage))
	mux.HandleFunc("GET /link/{$}", s.serve(plexTVName, LinkPage, s.showLinkPage))
	mux.HandleFunc("POST /link", s.serve(plexTVName, SubmitLinkPage, s.submitLinkPage))
	mux.HandleFunc("PUT /_control/servers/{machineIdentifier}/addresses", s.setAddresses)
	mux.HandleFunc("GET /{$}", s.showStatusPage)
	mux.HandleFunc("POST /_control/faults", s.controlFaults)
	mux.HandleFunc("DELETE /_control/faults", s.controlFaults)
	mux.HandleFunc("/", s.serve(plexTVName, Unknown, refuse(http.StatusNotFound, codeNotFound)))
	return withoutSuffix(mux)
}

// withoutSuffix routes /pins.json and /pins.xml like /pins.
func withoutSuffix(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimSuffix(strings.TrimSuffix(r.URL.Path, ".json"), ".xml")
		if path != r.URL.Path {
			r = r.Clone(r.Context())
			r.URL.Path, r.URL.RawPath = path, ""
		}
		next.ServeHTTP(w, r)
	})
}

// listen panics like httptest does: a test that cannot listen on loopback cannot go on.
func listen(addr string) net.Listener {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil {
		panic(err)
	}
	return l
}

// reachable is the listener's address with a wildcard replaced by loopback, so that it can be put into a URL.
func reachable(l net.Listener) string {
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		panic(err)
	}
	if net.ParseIP(host).IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

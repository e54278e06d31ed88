package plextest

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"sync"

	"golang.org/x/time/rate"
	"k8s.io/utils/clock"
)

// Options steer a Simulator. The zero value is useful.
type Options struct {
	Clock clock.PassiveClock // by which PINs expire; nil: the real one
	Addr  string             // where plex.tv listens; empty: a free port of 127.0.0.1
	Log   func(Request)      // called once a request, when it has been answered; may be nil
}

// Simulator is one plex.tv with its accounts and media servers.
type Simulator struct {
	URL string // base URL of plex.tv, without a path: http://127.0.0.1:34567

	clock     clock.PassiveClock
	log       func(Request)
	authority *authority
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
	turn         int // counts the answers whose types drift
}

// New starts plex.tv over http. Like httptest.NewServer it panics when it cannot listen, with the error of net.Listen.
func New(o Options) *Simulator {
	s := &Simulator{
		clock: o.Clock, log: o.Log, authority: newAuthority(),
		grants: map[string]*grant{}, serverTokens: map[string]*serverGrant{}, secrets: map[string]struct{}{},
	}
	if s.clock == nil {
		s.clock = clock.RealClock{}
	}
	s.listener = listen(o.Addr)
	s.URL = "http://" + reachable(s.listener)
	s.plexTV = &http.Server{Handler: s.routes(), ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = s.plexTV.Serve(s.listener) }()
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
		LinkPIN:   identified(s.signedIn(s.linkPIN)),
		User:      identified(s.signedIn(s.user)),
		Ping:      identified(s.signedIn(s.ping)),
		SignOut:   identified(s.signedIn(s.signOut)),
		Resources: identified(s.signedIn(s.resources)),
	} {
		method, path := endpoint.split()
		mux.HandleFunc(method+" /api/v2"+path, s.serve(plexTVName, endpoint, h))
	}
	mux.HandleFunc("GET /link", s.serve(plexTVName, LinkPage, s.showLinkPage))
	mux.HandleFunc("GET /link/{$}", s.serve(plexTVName, LinkPage, s.showLinkPage))
	mux.HandleFunc("POST /link", s.serve(plexTVName, SubmitLinkPage, s.submitLinkPage))
	mux.HandleFunc("PUT /_control/servers/{machineIdentifier}/addresses", s.setAddresses)
	mux.HandleFunc("/", s.serve(plexTVName, Unknown, func(*call) answer { return htmlPage(http.StatusNotFound) }))
	return mux
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

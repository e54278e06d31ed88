package plextest

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Endpoint names the kind of a request, without anything that differs from call to call.
type Endpoint string

// The endpoints of plex.tv and of media servers. They name the request in records and the target of a Fault.
const (
	CreatePIN      Endpoint = "POST /pins"
	CheckPIN       Endpoint = "GET /pins/{id}"
	LinkPIN        Endpoint = "PUT /pins/link"
	User           Endpoint = "GET /user"
	Ping           Endpoint = "GET /ping"
	SignOut        Endpoint = "DELETE /users/signout"
	Resources      Endpoint = "GET /resources"
	Devices        Endpoint = "GET /devices.xml"
	DeleteDevice   Endpoint = "DELETE /devices/{id}.xml"
	OldAccount     Endpoint = "GET /users/account"
	OldResources   Endpoint = "GET /api/resources"
	LinkPage       Endpoint = "GET /link"
	SubmitLinkPage Endpoint = "POST /link"

	Identity Endpoint = "GET /identity"
	Library  Endpoint = "GET /library"
	Sections Endpoint = "GET /library/sections"
	Root     Endpoint = "GET /"

	Unknown Endpoint = "unknown" // anything else, at plex.tv and at media servers
)

func (e Endpoint) split() (method, path string) {
	method, path, _ = strings.Cut(string(e), " ")
	return method, path
}

// Request is the record of one request. It holds secrets (see Simulator.Secrets): log only the fields up to DeviceName.
type Request struct {
	Time     time.Time // when it arrived, by the simulator's clock
	Server   string    // "plex.tv" or the media server's name
	Endpoint Endpoint
	Status   int    // 0: not answered yet, or cut off
	Account  string // the username whose token came with it, if that token was valid on arrival

	Product          string // X-Plex-Product
	DeviceName       string // X-Plex-Device-Name
	ClientIdentifier string
	Token            string
	URL              string // as sent: path and query
	Header           http.Header
}

func (s *Simulator) begin(server string, endpoint Endpoint, c *call) *Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &Request{
		Time: s.clock.Now(), Server: server, Endpoint: endpoint,
		Product: c.plexValue("X-Plex-Product"), DeviceName: c.plexValue("X-Plex-Device-Name"),
		ClientIdentifier: c.clientIdentifier, Token: c.token, URL: c.RequestURI, Header: c.Header.Clone(),
	}
	if g := s.owner(c.token); g != nil {
		r.Account = g.account.Username
	}
	s.addSecret(c.clientIdentifier, c.token)
	s.requests = append(s.requests, r)
	return r
}

func (s *Simulator) finish(r *Request, status int) {
	s.mu.Lock()
	r.Status = status
	done := *r
	s.mu.Unlock()
	if s.log != nil {
		s.log(done)
	}
}

// Requests returns the record of all requests since the start or the last ResetRequests, in order of arrival.
func (s *Simulator) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := make([]Request, len(s.requests))
	for i, r := range s.requests {
		requests[i] = *r
	}
	return requests
}

// Count returns how many requests an endpoint got, at all servers together.
func (s *Simulator) Count(endpoint Endpoint) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.requests {
		if r.Endpoint == endpoint {
			n++
		}
	}
	return n
}

// ResetRequests clears the record. Secrets are kept.
func (s *Simulator) ResetRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// Secrets returns every token, PIN id and client identifier that was ever issued or seen, sorted: a program that
// prints one of them leaks it.
func (s *Simulator) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.secrets))
}

func (s *Simulator) addSecret(secrets ...string) {
	for _, secret := range secrets {
		if secret != "" {
			s.secrets[secret] = struct{}{}
		}
	}
}

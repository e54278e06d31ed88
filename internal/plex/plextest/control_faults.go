package plextest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// faultOrder is the body of POST /_control/faults. All fields are optional.
type faultOrder struct {
	Faults []struct {
		Fault

		Delay, SlowBody duration // in place of the Fault's
	}
	Limit        *Limit                     // of plex.tv
	GhostDevices map[string]int             // how many to add, by the account's username
	Servers      map[string]json.RawMessage // changes of serverFaults, by the server's name
}

// serverFaults is what can be wrong with a media server as a whole.
type serverFaults struct {
	Stopped            bool
	Hangs              bool
	Delay              duration
	SpinUp             duration
	CachesTokens       bool
	AllowedWithoutAuth bool
	IncompleteChain    bool
}

// duration is written like 1.5s.
type duration time.Duration

// UnmarshalJSON implements json.Unmarshaler.
func (d *duration) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return errors.New(`want a duration such as "1.5s"`)
	}
	v, err := time.ParseDuration(text)
	*d = duration(v)
	return err
}

var controllable = []Endpoint{
	CreatePIN, CheckPIN, LinkPIN, User, Ping, SignOut, Resources, Devices, DeleteDevice, OldAccount, OldResources, LinkPage,
	SubmitLinkPage, Identity, Library, Sections, Root, Unknown,
}

// controlFaults sets faults (POST) or clears all of them (DELETE). It serves loopback only: a page of another site can send
// neither JSON nor DELETE, and the Host of a rebound name is not a loopback address.
func (s *Simulator) controlFaults(w http.ResponseWriter, r *http.Request) {
	switch {
	case !isLoopback(r.RemoteAddr), !isLoopback(r.Host):
		http.Error(w, "only loopback may order faults", http.StatusForbidden)
		return
	case r.Method == http.MethodDelete:
		s.endFaults()
	case !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json"):
		http.Error(w, "want Content-Type: application/json", http.StatusUnsupportedMediaType)
		return
	default:
		if err := s.orderFaults(http.MaxBytesReader(w, r.Body, 1<<20)); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// orderFaults changes nothing unless the whole order is valid.
func (s *Simulator) orderFaults(body io.Reader) error {
	var order faultOrder
	if err := decodeStrictly(body, &order); err != nil {
		return err
	}
	var apply []func()
	for _, f := range order.Faults {
		if !slices.Contains(controllable, f.Endpoint) {
			return fmt.Errorf("no endpoint %q: want one of %q", f.Endpoint, controllable)
		}
		f.Fault.Delay, f.Fault.SlowBody = time.Duration(f.Delay), time.Duration(f.SlowBody)
		apply = append(apply, func() { s.Fault(f.Fault) })
	}
	for name, n := range order.GhostDevices {
		account := s.account(name)
		if account == nil || n < 0 {
			return fmt.Errorf("no account %q to add %d devices to", name, n)
		}
		apply = append(apply, func() { s.AddGhostDevices(account, n) })
	}
	for name, changes := range order.Servers {
		m := s.server(func(m *MediaServer) bool { return m.server.Name == name })
		if m == nil {
			return fmt.Errorf("no server %q", name)
		}
		faults := m.faults()
		if err := decodeStrictly(strings.NewReader(string(changes)), &faults); err != nil {
			return fmt.Errorf("server %q: %w", name, err)
		}
		apply = append(apply, func() { m.setFaults(faults) })
	}
	if order.Limit != nil {
		apply = append(apply, func() { s.Limit(*order.Limit) })
	}
	for _, f := range apply {
		f()
	}
	return nil
}

func decodeStrictly(body io.Reader, into any) error {
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	return d.Decode(into)
}

func (s *Simulator) endFaults() {
	s.ClearFaults()
	s.Limit(Limit{})
	s.mu.Lock()
	servers := slices.Clone(s.servers)
	s.mu.Unlock()
	for _, m := range servers {
		m.setFaults(serverFaults{})
	}
}

func (m *MediaServer) faults() serverFaults {
	m.mu.Lock()
	stopped := m.http == nil
	m.mu.Unlock()
	state := m.state()
	return serverFaults{
		Stopped: stopped, Hangs: state.Hangs, Delay: duration(state.Delay), SpinUp: duration(state.SpinUp),
		CachesTokens: state.CachesTokens, AllowedWithoutAuth: state.AllowedWithoutAuth, IncompleteChain: state.IncompleteChain,
	}
}

func (m *MediaServer) setFaults(f serverFaults) {
	m.Update(func(s *Server) {
		s.Hangs, s.Delay, s.SpinUp = f.Hangs, time.Duration(f.Delay), time.Duration(f.SpinUp)
		s.CachesTokens, s.AllowedWithoutAuth, s.IncompleteChain = f.CachesTokens, f.AllowedWithoutAuth, f.IncompleteChain
	})
	if f.Stopped {
		m.Stop()
	} else {
		m.Start()
	}
}

package plextest

import (
	"encoding/json"
	"net"
	"net/http"
	"slices"
)

// setAddresses makes plex.tv advertise the addresses (host:port, a JSON list) that a media server in another process
// reports, as a real one reports its own: all local, over http, in that order.
func (s *Simulator) setAddresses(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("machineIdentifier")
	m := s.server(func(m *MediaServer) bool { return m.MachineIdentifier == id })
	if m == nil {
		http.Error(w, "no server has this machineIdentifier", http.StatusNotFound)
		return
	}
	var addresses []string
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&addresses); err != nil {
		http.Error(w, `want a JSON list such as ["10.0.0.7:32400"]: `+err.Error(), http.StatusBadRequest)
		return
	}
	connections := make([]Connection, 0, len(addresses))
	for _, address := range addresses {
		if _, _, err := net.SplitHostPort(address); err != nil {
			http.Error(w, "want host:port: "+err.Error(), http.StatusBadRequest)
			return
		}
		connections = append(connections, LocalConnection("http://"+address))
	}
	m.SetConnections(connections...)
	w.WriteHeader(http.StatusNoContent)
}

// server returns the first media server that satisfies a condition, or nil.
func (s *Simulator) server(is func(*MediaServer) bool) *MediaServer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.servers, is); i >= 0 {
		return s.servers[i]
	}
	return nil
}

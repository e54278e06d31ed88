package plextest

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// Network plays a LAN: it maps the addresses that a server advertises to listeners on loopback. Give its DialContext
// to the http.Transport under test. Set its fields before the first dial.
type Network struct {
	Listeners map[string]string // "192.168.1.100:32400" to the loopback address behind it, as in MediaServer.Addr
	Hosts     map[string]string // names to the IP addresses they resolve to; other names do not exist

	mu     sync.Mutex
	dialed []string
}

// DialContext dials the listener behind addr. Loopback addresses are dialled as they are. An IP address that has
// listeners on other ports only refuses; one that has none swallows packets: the dial ends with ctx.
func (n *Network) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	n.mu.Lock()
	n.dialed = append(n.dialed, addr)
	n.mu.Unlock()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	if net.ParseIP(host) == nil && host != "localhost" {
		name := host
		if host = n.Hosts[name]; host == "" {
			return nil, &net.OpError{Op: "dial", Net: network,
				Err: &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}}
		}
	}
	target := net.JoinHostPort(host, port)
	if listener, ok := n.Listeners[target]; ok {
		return new(net.Dialer).DialContext(ctx, network, listener)
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsLoopback() {
		return new(net.Dialer).DialContext(ctx, network, target)
	}
	for known := range n.Listeners {
		if strings.HasPrefix(known, net.JoinHostPort(host, "")) {
			return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
		}
	}
	<-ctx.Done()
	return nil, &net.OpError{Op: "dial", Net: network, Err: ctx.Err()}
}

// Dialed returns the addresses that were dialled, in order, as the client named them.
func (n *Network) Dialed() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.dialed)
}

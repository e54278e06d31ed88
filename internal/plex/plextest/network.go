package plextest

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// Network simulates a LAN: it maps the addresses that a server advertises to listeners on loopback. Use its DialContext in
// the http.Transport under test. Set its fields before the first dial, or in Update.
type Network struct {
	Listeners map[string]string // "192.168.1.100:32400" to the loopback address behind it, as in MediaServer.Addr
	Hosts     map[string]string // names to the IP addresses they resolve to; other names do not exist

	mu     sync.Mutex
	dialed []string
}

// Update runs a change of the fields while nothing reads them.
func (n *Network) Update(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

// DialContext dials the listener behind addr. Loopback addresses are dialed directly. An IP address with listeners only on
// other ports refuses; one without listeners drops packets: the dial ends with ctx.
func (n *Network) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	target, err := n.resolve(network, addr)
	if err != nil {
		return nil, err
	}
	if target == "" {
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Net: network, Err: ctx.Err()}
	}
	return new(net.Dialer).DialContext(ctx, network, target)
}

// resolve records the dial and returns the address to dial in place of addr, or "" if nothing answers.
func (n *Network) resolve(network, addr string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dialed = append(n.dialed, addr)
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", &net.OpError{Op: "dial", Net: network, Err: err}
	}
	if net.ParseIP(host) == nil && host != "localhost" {
		name := host
		if host = n.Hosts[name]; host == "" {
			return "", &net.OpError{Op: "dial", Net: network,
				Err: &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}}
		}
	}
	target := net.JoinHostPort(host, port)
	if listener, ok := n.Listeners[target]; ok {
		return listener, nil
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsLoopback() {
		return target, nil
	}
	for known := range n.Listeners {
		if strings.HasPrefix(known, net.JoinHostPort(host, "")) {
			return "", &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
		}
	}
	return "", nil
}

// Dialed returns the addresses that were dialed, in order, as the client named them.
func (n *Network) Dialed() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.dialed)
}

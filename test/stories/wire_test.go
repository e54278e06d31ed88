package stories

import (
	"io"
	"net"
	"net/url"
	"sync"
)

// wire forwards connections to an address until it is cut.
type wire struct {
	net.Listener
	to string

	mu   sync.Mutex
	gone bool
	ends map[net.Conn]bool // of the forwarded connections
}

// newWire returns a wire to a host and port, for the duration of the story.
func newWire(w *world, to string) *wire {
	w.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	c := &wire{Listener: listener, to: to, ends: map[net.Conn]bool{}}
	w.Cleanup(func() {
		_ = listener.Close()
		c.cut()
	})
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			go c.carry(near)
		}
	}()
	return c
}

// newAPIServerWire returns a wire to the API server and the URL of its near end.
func newAPIServerWire(w *world) (c *wire, host string) {
	w.Helper()
	address, err := url.Parse(operatorConfig.Host)
	if err != nil || address.Host == "" {
		address = &url.URL{Scheme: "https", Host: operatorConfig.Host}
	}
	c = newWire(w, address.Host)
	return c, "https://" + c.Addr().String()
}

// carry copies in both directions until an end closes.
func (c *wire) carry(near net.Conn) {
	far, err := net.Dial("tcp", c.to)
	if err != nil || !c.add(near, far) {
		_ = near.Close()
		if err == nil {
			_ = far.Close()
		}
		return
	}
	var ways sync.WaitGroup
	for from, to := range map[net.Conn]net.Conn{near: far, far: near} {
		ways.Go(func() {
			_, _ = io.Copy(to, from)
			_, _ = near.Close(), far.Close()
		})
	}
	ways.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.ends, near)
	delete(c.ends, far)
}

// add records the ends of a connection, and reports whether the wire is intact.
func (c *wire) add(ends ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, end := range ends {
		if !c.gone {
			c.ends[end] = true
		}
	}
	return !c.gone
}

// cut closes all connections, and each new one until mend.
func (c *wire) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	for end := range c.ends {
		_ = end.Close()
	}
}

// mend accepts new connections again.
func (c *wire) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = false
}

package plextest

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
)

// dualListener accepts http and https on one port, as media servers do: a TLS connection begins with byte 22.
type dualListener struct {
	net.Listener

	config *tls.Config
	ready  chan net.Conn

	running context.Context // done when the listener is closed
	stop    context.CancelFunc
}

func newDualListener(l net.Listener, config *tls.Config) *dualListener {
	d := &dualListener{Listener: l, config: config, ready: make(chan net.Conn)}
	d.running, d.stop = context.WithCancel(context.Background())
	go d.run()
	return d
}

func (d *dualListener) run() {
	for {
		conn, err := d.Listener.Accept()
		if err != nil {
			d.Close()
			return
		}
		go d.sort(conn)
	}
}

// sort reads the first byte outside of Accept, because a silent connection must not block others.
func (d *dualListener) sort(raw net.Conn) {
	stop := context.AfterFunc(d.running, func() { raw.Close() })
	r := bufio.NewReader(raw)
	first, err := r.Peek(1)
	if !stop() || err != nil {
		raw.Close()
		return
	}
	var conn net.Conn = &peekedConn{raw, r}
	if first[0] == 22 {
		conn = tls.Server(conn, d.config)
	}
	select {
	case d.ready <- conn:
	case <-d.running.Done():
		conn.Close()
	}
}

// Accept implements net.Listener.
func (d *dualListener) Accept() (net.Conn, error) {
	select {
	case conn := <-d.ready:
		return conn, nil
	case <-d.running.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (d *dualListener) Close() error {
	d.stop()
	return d.Listener.Close()
}

// peekedConn is a connection whose first bytes have been read into a reader.
type peekedConn struct {
	net.Conn

	r *bufio.Reader
}

func (c *peekedConn) Read(b []byte) (int, error) { return c.r.Read(b) }

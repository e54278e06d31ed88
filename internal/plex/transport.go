package plex

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"time"

	// Public roots for images without a certificate store. A store that exists takes precedence.
	_ "golang.org/x/crypto/x509roots/fallback"
)

// TransportOptions configure [NewTransport].
type TransportOptions struct {
	// Deny lists networks that are never dialed, for example [DefaultDeny]; nil denies nothing. With Proxy it applies to
	// the proxy's address only.
	Deny []netip.Prefix
	// RootCAs is the complete set of trusted roots; nil is the system's, or Mozilla's where the system has none. To
	// trust a private authority as well, append it to a copy of the system's pool.
	RootCAs *x509.CertPool
	// DialContext replaces the dialer, including the guard of Deny.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// Proxy uses the proxy from the environment. Do not set it for media servers: a proxy may reach other addresses than
	// this machine does.
	Proxy bool
}

// NewTransport returns a transport for a [Client] or a [Prober]. It speaks HTTP/1.1 only, where a request that times out
// closes its connection: over HTTP/2 all polls of a PIN would share one dead connection and time out one after another.
func NewTransport(o TransportOptions) *http.Transport {
	dial := o.DialContext
	if dial == nil {
		dial = (&net.Dialer{ControlContext: denying(o.Deny)}).DialContext
	}
	t := &http.Transport{
		DialContext:            endingWithRequest(dial),
		TLSClientConfig:        &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    5 * time.Second,
		MaxIdleConns:           100,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
	if o.Proxy {
		t.Proxy = http.ProxyFromEnvironment
	}
	return t
}

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// endingWithRequest ends a dial together with the request that it was started for. http.Transport would continue it for
// later requests: two minutes of a goroutine and a socket for each dead address, each time it is probed.
func endingWithRequest(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		if request, ok := ctx.Value(requestKey{}).(context.Context); ok {
			defer context.AfterFunc(request, cancel)()
		}
		return dial(ctx, network, addr)
	}
}

package plex

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"time"

	// Public roots for images without a certificate store; a store that exists wins.
	_ "golang.org/x/crypto/x509roots/fallback"
)

// TransportOptions configure [NewTransport].
type TransportOptions struct {
	// Deny lists networks that are never dialled, see [DefaultDeny]; nil denies nothing. With Proxy it guards the way
	// to the proxy only.
	Deny []netip.Prefix
	// RootCAs is the complete set of trusted roots; nil: the system's, or Mozilla's where the system has none. To
	// trust a private authority as well, append it to a copy of the system's pool.
	RootCAs *x509.CertPool
	// DialContext replaces the dialer, and with it the guard of Deny.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// Proxy uses the proxy of the environment. Not for media servers: a proxy is another place to look from.
	Proxy bool
}

// NewTransport makes a transport for a [Client] or a [Prober]. It speaks HTTP/1.1 only, where a request that times out
// takes its connection along: over HTTP/2 all polls of a PIN would share one dead connection and time out in turn.
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

// endingWithRequest ends a dial together with the request it was made for. http.Transport lets it go on, in the hope
// of a later use: two minutes of goroutine and socket for each dead address, every time it is probed.
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

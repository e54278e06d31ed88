package plex

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Options configure a [Client]; the zero value talks to the real plex.tv.
type Options struct {
	BaseURL   string            // default https://plex.tv; the API is below BaseURL + /api/v2
	Transport http.RoundTripper // default NewTransport(TransportOptions{Proxy: true})
	Timeout   time.Duration     // of a whole request; default 10 s
}

// Client calls plex.tv. Its errors are those of this package's Err… variables and [ThrottledError].
type Client struct {
	base      *url.URL
	transport http.RoundTripper
	timeout   time.Duration
}

// PIN is an open PIN. Who knows the ID and the client identifier can collect the token; the code and the QR URL only
// let a person grant access to their own account.
type PIN struct {
	ID        Sensitive
	Code      string
	ExpiresIn time.Duration // from the moment of the answer, by plex.tv's clock
	QRURL     string        // a picture of the link; "" if plex.tv gave none
}

// Account is the person's account.
type Account struct {
	Username string // the title for a managed user, who has no username
	UUID     string
}

// Server is a media server that the account may use.
type Server struct {
	Name              string // neither unique nor stable
	MachineIdentifier string
	Version           string
	Owned             bool
	SourceTitle       string    // who shares it; "" for an owned one
	AccessToken       Sensitive // opens this server and no other; for a shared server the account's token does not
	HTTPSRequired     bool
	Connections       []Connection
}

// Connection is an address that a server advertises.
type Connection struct {
	Protocol string
	Address  string
	Port     int
	URI      string
	Local    bool // a private address as the server sees itself, which does not say that it is reachable from here
	Relay    bool
	IPv6     bool
}

// NewClient makes a client of plex.tv, or says what is wrong with the base URL.
func NewClient(o Options) (*Client, error) {
	if o.BaseURL == "" {
		o.BaseURL = "https://plex.tv"
	}
	if o.Transport == nil {
		o.Transport = NewTransport(TransportOptions{Proxy: true})
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	base, err := parseBase(o.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("the URL of plex.tv must be like https://plex.tv: %w", err)
	}
	return &Client{base: base, transport: o.Transport, timeout: o.Timeout}, nil
}

// LinkURL is where a person opens the page with the code filled in.
func (c *Client) LinkURL(code string) string {
	return c.base.String() + "/link/?pin=" + url.QueryEscape(code)
}

// EntryURL is where a person types the code.
func (c *Client) EntryURL() string { return c.base.String() + "/link" }

// CreatePIN asks for a new PIN of four characters. Never do so for a healthy link: the new token ends the old one.
func (c *Client) CreatePIN(ctx context.Context, d Device) (PIN, error) {
	a, err := c.call(ctx, d, request{method: http.MethodPost, path: "/pins"})
	if err != nil {
		return PIN{}, fmt.Errorf("create a PIN: %w", err)
	}
	pin, err := decodePIN(a.body)
	return pin, explain("create a PIN", err)
}

// CheckPIN asks once whether the PIN has been entered; the token is "" while it has not. A claimed PIN lives about ten
// seconds: poll at least every five, and store the token before anything else is done with it.
func (c *Client) CheckPIN(ctx context.Context, d Device, id Sensitive) (Sensitive, error) {
	a, err := c.call(ctx, d, request{
		method: http.MethodGet, path: "/pins/" + url.PathEscape(id.Reveal()), pin: id,
	})
	if err != nil {
		return "", fmt.Errorf("check the PIN: %w", err)
	}
	token, err := decodeAuthToken(a.body)
	return token, explain("check the PIN", err)
}

// Account tells whose token it is.
func (c *Client) Account(ctx context.Context, d Device, token Sensitive) (Account, error) {
	a, err := c.call(ctx, d, request{method: http.MethodGet, path: "/user", token: token})
	if err != nil {
		return Account{}, fmt.Errorf("read the account: %w", err)
	}
	account, err := decodeAccount(a.body)
	return account, explain("read the account", err)
}

// Resources lists the media servers of the account, not its other devices, in plex.tv's order. An owned server for
// which plex.tv names no access token gets the account's, which is the same.
func (c *Client) Resources(ctx context.Context, d Device, token Sensitive) ([]Server, error) {
	a, err := c.call(ctx, d, request{
		method: http.MethodGet, path: "/resources", token: token,
		query: "includeHttps=1&includeRelay=1&includeIPv6=1",
	})
	if err != nil {
		return nil, fmt.Errorf("list the servers: %w", err)
	}
	servers, err := decodeServers(a.body)
	for i := range servers {
		if servers[i].Owned && servers[i].AccessToken == "" {
			servers[i].AccessToken = token
		}
	}
	return servers, explain("list the servers", err)
}

// Ping keeps the token from lapsing, which idle tokens do after weeks.
func (c *Client) Ping(ctx context.Context, d Device, token Sensitive) error {
	a, err := c.call(ctx, d, request{method: http.MethodGet, path: "/ping", token: token})
	if err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	return explain("ping", decodePong(a.body))
}

// SignOut revokes the token. ErrTokenInvalid means that it was revoked already.
func (c *Client) SignOut(ctx context.Context, d Device, token Sensitive) error {
	a, err := c.call(ctx, d, request{
		method: http.MethodDelete, path: "/users/signout", token: token,
	})
	if err != nil {
		return fmt.Errorf("sign out: %w", err)
	}
	if len(a.body) > 0 { // a page of somebody on the way is no sign-out
		err = errors.New("the answer is not empty")
	}
	return explain("sign out", err)
}

// explain turns what is wrong with a successful answer into an error of the call: it is not plex.tv's.
func explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w: %w", doing, ErrUnavailable, err)
}

type request struct {
	method, path, query string
	pin, token          Sensitive
}

// call makes one request and returns its successful answer.
func (c *Client) call(ctx context.Context, d Device, r request) (answer, error) {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(limited, r.method, c.base.String()+"/api/v2"+r.path, nil)
	if err != nil {
		return answer{}, fmt.Errorf("%w: the URL cannot be built", ErrBadRequest) // the error would quote the PIN id
	}
	req.URL.RawQuery = r.query
	d.describe(req.Header)
	if r.token != "" {
		req.Header.Set("X-Plex-Token", r.token.Reveal())
	}
	a, err := exchange(c.transport, req, d.ClientIdentifier, r.pin, r.token)
	switch throttled := (*ThrottledError)(nil); {
	case errors.Is(ctx.Err(), context.Canceled):
		return a, ctx.Err()
	case a.status == http.StatusTooManyRequests: // whatever its body
		return a, a.failure(false, false)
	case errors.As(err, &throttled): // of a RoundTripper that keeps to a budget
		return a, err
	case err != nil:
		return a, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case a.status < 200 || a.status > 299:
		return a, a.failure(r.pin != "", r.token != "")
	}
	return a, nil
}

// parseBase reads a URL below which paths can be put: http or https, with a host, without user, query or fragment. A
// trailing slash is dropped.
func parseBase(s string) (*url.URL, error) {
	if len(s) > 2048 || strings.ContainsAny(s, "?#") {
		return nil, errors.New("it must not be long and must have neither query nor fragment")
	}
	u, err := url.Parse(strings.TrimRight(s, "/"))
	if err != nil {
		return nil, errors.Unwrap(err) // *url.Error, which quotes the whole of it
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil {
		return nil, errors.New("it needs http:// or https://, a host and no user")
	}
	// url.Parse lets quotes and the like through in a host, and any number as a port.
	host, port := strings.NewReplacer(".", "", ":", "").Replace(u.Hostname()), u.Port()
	if _, err := strconv.ParseUint(port, 10, 16); (port != "" && err != nil) || strings.HasSuffix(u.Host, ":") ||
		!isPlain(host, 255) {
		return nil, errors.New("its host or port is not valid")
	}
	return u, nil
}

package plex

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Options configure a [Client]; the zero value talks to the real plex.tv.
type Options struct {
	BaseURL   string            // default https://plex.tv; the API is at BaseURL + /api/v2
	Transport http.RoundTripper // default NewTransport(TransportOptions{Proxy: true})
	Timeout   time.Duration     // of a whole request; default 10 s. A poll never takes longer than 3 s
}

// pollTimeout bounds a poll of a PIN. An entered PIN lives about ten seconds, so a poll that hangs must leave time for
// the next one.
const pollTimeout = 3 * time.Second

// linkPageProduct is what plex.tv/link calls itself when it enters a PIN.
const linkPageProduct = "Plex SSO"

// Client calls plex.tv. [Classify] returns the meaning of its errors.
type Client struct {
	base      *url.URL
	transport http.RoundTripper
	timeout   time.Duration
}

// PIN is an open PIN. Anyone who knows its ID and the client identifier can collect the token. The code and the QR URL
// are public: they only let a person grant access to their own account.
type PIN struct {
	ID        Sensitive
	Code      string
	ExpiresIn time.Duration // counted from plex.tv's answer
	QRURL     string        // an image of the link; "" if plex.tv sent none
}

// Account is a Plex account.
type Account struct {
	Username string
	UUID     string
	Managed  bool `json:",omitempty"` // a managed user: it has no username, and Username is its title, which may be anything
}

// Matches reports whether the account has the username and the uuid, both case-insensitive. An empty one matches every
// account. A managed user is matched by uuid only: its title may be the username of another account.
func (a Account) Matches(username, uuid string) bool {
	return (username == "" || !a.Managed && strings.EqualFold(a.Username, username)) && (uuid == "" || strings.EqualFold(a.UUID, uuid))
}

// NewClient returns a client of plex.tv. It fails if the base URL is not valid.
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
		return nil, fmt.Errorf("the URL of plex.tv must look like https://plex.tv: %w", err)
	}
	return &Client{base: base, transport: o.Transport, timeout: o.Timeout}, nil
}

// LinkURL returns the address of the page for entering a PIN, with the code filled in.
func (c *Client) LinkURL(code string) string {
	return c.base.String() + "/link/?pin=" + url.QueryEscape(code)
}

// EntryURL returns the address of the page where a person types the code.
func (c *Client) EntryURL() string { return c.base.String() + "/link" }

// CreatePIN requests a new PIN of four characters. Do not call it for a healthy link: entering the PIN invalidates the
// current token.
func (c *Client) CreatePIN(ctx context.Context, d Device) (PIN, error) {
	a, err := c.call(ctx, d, request{method: http.MethodPost, path: "/pins"})
	if err != nil {
		return PIN{}, fmt.Errorf("create a PIN: %w", err)
	}
	pin, err := decodePIN(a.body)
	return pin, explain("create a PIN", err)
}

// CheckPIN polls the PIN once; the token is "" until the PIN has been entered. An entered PIN lives about ten seconds:
// poll at least every five, and store the token before doing anything else with it. A poll takes at most 3 s.
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

// EnterPIN enters the code of an open PIN for the account of a token of d, as a person does at plex.tv/link. Plex's public
// documents do not have this request: a [ClaimRefusedError] means that a person has to enter the PIN.
func (c *Client) EnterPIN(ctx context.Context, d Device, token Sensitive, code string) error {
	d.Product = linkPageProduct
	a, err := c.call(ctx, d, request{method: http.MethodPut, path: "/pins/link", token: token, form: url.Values{"code": {code}}})
	switch {
	case err == nil:
		return explain("enter the PIN", a.isEmpty())
	case a.refusesClaim():
		return fmt.Errorf("enter the PIN: %w: %w", &ClaimRefusedError{a.status}, err)
	}
	return fmt.Errorf("enter the PIN: %w", err)
}

// Account returns the account that the token belongs to.
func (c *Client) Account(ctx context.Context, d Device, token Sensitive) (Account, error) {
	a, err := c.call(ctx, d, request{method: http.MethodGet, path: "/user", token: token})
	if err != nil {
		return Account{}, fmt.Errorf("read the account: %w", err)
	}
	account, err := decodeAccount(a.body)
	return account, explain("read the account", err)
}

// Ping keeps the token from expiring, which idle tokens do after weeks.
func (c *Client) Ping(ctx context.Context, d Device, token Sensitive) error {
	a, err := c.call(ctx, d, request{method: http.MethodGet, path: "/ping", token: token})
	if err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	return explain("ping", decodePong(a.body))
}

// SignOut revokes the token. ErrTokenInvalid means that it had been revoked before.
func (c *Client) SignOut(ctx context.Context, d Device, token Sensitive) error {
	a, err := c.call(ctx, d, request{
		method: http.MethodDelete, path: "/users/signout", token: token,
	})
	if err != nil {
		return fmt.Errorf("sign out: %w", err)
	}
	return explain("sign out", a.isEmpty())
}

// explain wraps what is wrong with a successful answer as ErrUnavailable: a proxy may have sent it.
func explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w: %w", doing, ErrUnavailable, err)
}

type request struct {
	method, path, query string
	pin, token          Sensitive
	form                url.Values
	read                func(io.Reader) error // reads the body of a successful answer; nil: call returns it
}

// call sends one request and returns its successful answer.
func (c *Client) call(ctx context.Context, d Device, r request) (answer, error) {
	timeout := c.timeout
	if r.pin != "" {
		timeout = min(timeout, pollTimeout)
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(limited, r.method, c.base.String()+"/api/v2"+r.path, strings.NewReader(r.form.Encode()))
	if err != nil {
		return answer{}, fmt.Errorf("%w: the URL cannot be built", ErrBadRequest) // err would quote the PIN id
	}
	req.URL.RawQuery = r.query
	d.describe(req.Header)
	if r.form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.Header.Set("User-Agent", d.userAgent())
	if r.token != "" {
		req.Header.Set("X-Plex-Token", r.token.Reveal())
	}
	a, err := exchange(c.transport, req, r.read, d.ClientIdentifier, r.pin, r.token)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled): // a complete answer counts: it may hold a token
		return a, ctx.Err()
	case a.status == http.StatusTooManyRequests: // even if its body could not be read
		return a, a.failure(false, false)
	case errors.Is(err, ErrUnavailable):
		return a, err
	case err != nil:
		return a, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case !a.successful():
		return a, a.failure(r.pin != "", r.token != "")
	}
	return a, nil
}

// parseBase parses a URL to which paths can be appended: http or https, with a host, without user, query or fragment.
// Trailing slashes are dropped.
func parseBase(s string) (*url.URL, error) {
	if len(s) > 2048 || strings.ContainsAny(s, "?#") {
		return nil, errors.New("it must have at most 2048 bytes and neither query nor fragment")
	}
	u, err := url.Parse(strings.TrimRight(s, "/"))
	if err != nil {
		return nil, errors.Unwrap(err) // the *url.Error quotes the URL
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil {
		return nil, errors.New("it must start with http:// or https:// and have a host and no user")
	}
	// url.Parse accepts quotes and other odd characters in a host, and any number as a port.
	host, port := strings.NewReplacer(".", "", ":", "").Replace(u.Hostname()), u.Port()
	if _, err := strconv.ParseUint(port, 10, 16); (port != "" && err != nil) || strings.HasSuffix(u.Host, ":") ||
		!isPlain(host, 255) {
		return nil, errors.New("its host or port is invalid")
	}
	return u, nil
}

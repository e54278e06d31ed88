package template

import (
	"errors"
	"net/url"
)

// Values are what a template can use. The API's comment on spec.secret.template.data documents them.
type Values struct {
	URL, Scheme, Host, Port, Path         string
	Token, AccountToken, ClientIdentifier string
	Server                                Server
	Account                               Account
}

// Server is the server that the link has chosen.
type Server struct {
	Name, MachineIdentifier, Version string
	Owned                            bool
}

// Account is the account that entered the PIN.
type Account struct{ Username, UUID string }

// values are Values without methods, because a template can call the methods of what it is given.
type values Values

// WithURL returns the values with URL and its parts set. The error does not show the URL.
func (v Values) WithURL(u string) (Values, error) {
	parsed, err := url.Parse(u)
	if err != nil {
		return Values{}, errors.New("the address of the server is not a URL")
	}
	v.URL, v.Scheme, v.Host, v.Port, v.Path = u, parsed.Scheme, parsed.Hostname(), parsed.Port(), parsed.EscapedPath()
	if v.Port == "" {
		v.Port = map[string]string{"http": "80", "https": "443"}[v.Scheme]
	}
	return v, nil
}

// examples stand for a link before there is one, so that mistakes show before anyone is asked to enter a PIN: one has an
// owned server, the other a shared server with names that break a file that does not quote them.
func examples() []Values {
	const text, hostile = "example", "\"}\nexample: '{"
	owned := Values{
		URL: "http://192.0.2.1:32400/plex", Scheme: "http", Host: "192.0.2.1", Port: "32400", Path: "/plex",
		Token: text, AccountToken: text, ClientIdentifier: text,
		Server:  Server{Name: text, MachineIdentifier: text, Version: "1.0", Owned: true},
		Account: Account{Username: text, UUID: text},
	}
	shared := owned
	shared.URL, shared.Scheme, shared.Host, shared.Port, shared.Path = "https://[2001:db8::1]", "https", "2001:db8::1", "443", ""
	shared.Server = Server{Name: hostile, MachineIdentifier: text, Version: hostile}
	shared.Account.Username = hostile
	return []Values{owned, shared}
}

package plextest

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"
)

// Account is a person at plex.tv.
type Account struct {
	ID       int
	Username string
	UUID     string
	Email    string

	joinedAt time.Time
}

// AddAccount opens an account.
func (s *Simulator) AddAccount(username string) *Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &Account{
		ID: 1000001 + len(s.accounts), Username: username, Email: username + "@example.com",
		UUID: hexText(8), joinedAt: s.clock.Now(),
	}
	s.accounts = append(s.accounts, a)
	return a
}

// grant is the token of an account for one client identifier, and what depends on it.
type grant struct {
	token            string
	account          *Account
	clientIdentifier string
	product          string
	deviceName       string
	provides         string
	number           int // under Authorized Devices
	createdAt        time.Time
	accessTokens     map[*MediaServer]string // to servers shared with the account
}

// serverGrant holds the shared server that an access token is for, and the grant behind it.
type serverGrant struct {
	*grant
	server *MediaServer
}

// SignIn gives an account a token for a client identifier without a PIN, as if it had been linked before. Like every
// linking it invalidates the pair's earlier token.
func (s *Simulator) SignIn(a *Account, clientIdentifier string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.grantToken(a, &PIN{ClientIdentifier: clientIdentifier})
}

// grantToken mints the token of a claimed PIN: one per account and client identifier, which invalidates the earlier one.
func (s *Simulator) grantToken(a *Account, p *PIN) string {
	for _, g := range s.grants {
		if g.account == a && g.clientIdentifier == p.ClientIdentifier {
			s.revoke(g)
		}
	}
	s.lastDevice++
	g := &grant{
		token: newToken(), account: a, clientIdentifier: p.ClientIdentifier, product: p.Product, deviceName: p.DeviceName,
		provides: p.Provides, number: s.lastDevice, createdAt: s.clock.Now(), accessTokens: map[*MediaServer]string{},
	}
	s.grants[g.token] = g
	s.addSecret(g.token, g.clientIdentifier)
	return g.token
}

// RevokeTokens revokes all tokens of an account, as when a person ticks "sign out connected devices".
func (s *Simulator) RevokeTokens(a *Account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.grants {
		if g.account == a {
			s.revoke(g)
		}
	}
}

// ValidTokens returns the account tokens that plex.tv accepts, in no particular order, without those for shared servers.
func (s *Simulator) ValidTokens() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.grants))
}

func (s *Simulator) revoke(g *grant) {
	delete(s.grants, g.token)
	for _, token := range g.accessTokens {
		delete(s.serverTokens, token)
	}
}

// owner returns the account of a token, which may be an account's or one for a shared server.
func (s *Simulator) owner(token string) *grant {
	if sg := s.serverTokens[token]; sg != nil {
		return sg.grant
	}
	return s.grants[token]
}

// signedIn refuses requests whose token is not an account's. It records what the device says it provides.
func (s *Simulator) signedIn(h handler) handler {
	return func(c *call) answer {
		s.mu.Lock()
		c.grant = s.grants[c.token]
		if provides := c.plexValue("X-Plex-Provides"); provides != "" && c.grant != nil && c.clientIdentifier == c.grant.clientIdentifier {
			c.grant.provides = provides
		}
		s.mu.Unlock()
		if c.grant == nil {
			return c.plexError(http.StatusUnauthorized, codeInvalidToken)
		}
		return h(c)
	}
}

func (s *Simulator) signOut(c *call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoke(c.grant)
	return answer{status: http.StatusNoContent, header: http.Header{}}
}

func (s *Simulator) ping(c *call) answer {
	return c.encode(http.StatusOK, map[string]bool{"pong": true}, func(b *bytes.Buffer) { b.WriteString("<pong>true</pong>") })
}

func (s *Simulator) user(c *call) answer { return c.reply(http.StatusOK, userBody(c.grant)) }

func userBody(g *grant) object {
	a := g.account
	subscription := object{"subscription", []field{
		{"active", false}, {"subscribedAt", nil}, {"status", "Inactive"}, {"paymentService", nil}, {"plan", nil},
		{"features", list{}},
	}}
	profile := object{"profile", []field{
		{"autoSelectAudio", true}, {"defaultAudioLanguage", nil}, {"defaultSubtitleLanguage", nil},
		{"autoSelectSubtitle", 0}, {"defaultSubtitleAccessibility", 0}, {"defaultSubtitleForced", 0},
	}}
	return object{"user", []field{
		{"id", a.ID}, {"uuid", a.UUID}, {"username", a.Username}, {"title", a.Username}, {"email", a.Email},
		{"friendlyName", ""}, {"locale", nil}, {"confirmed", true}, {"joinedAt", int(a.joinedAt.Unix())},
		{"emailOnlyAuth", false}, {"hasPassword", true}, {"protected", false},
		{"thumb", fmt.Sprintf("https://plex.tv/users/%s/avatar?c=%d", a.UUID, a.joinedAt.Unix())},
		{"authToken", g.token}, {"mailingListStatus", nil}, {"mailingListActive", false}, {"scrobbleTypes", ""},
		{"country", "US"}, {"pin", ""}, {"subscription", subscription}, {"subscriptionDescription", nil},
		{"restricted", false}, {"anonymous", nil}, {"home", false}, {"guest", false}, {"homeSize", 1},
		{"homeAdmin", false}, {"maxHomeSize", 15}, {"rememberExpiresAt", nil}, {"profile", profile},
		{"entitlements", list{}}, {"roles", list{}}, {"services", list{}}, {"adsConsent", nil},
		{"adsConsentSetAt", nil}, {"adsConsentReminderAt", nil}, {"experimentalFeatures", false},
		{"twoFactorEnabled", false}, {"backupCodesCreated", false},
	}}
}

// newToken returns a token in the form of plex.tv's: 20 characters, sometimes with a leading dash.
func newToken() string { return base64.RawURLEncoding.EncodeToString(randomBytes(15)) }

func hexText(size int) string { return fmt.Sprintf("%x", randomBytes(size)) }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

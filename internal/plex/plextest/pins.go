package plextest

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	pinLife       = 900 * time.Second
	strongPINLife = 1800 * time.Second
	// claimedPINLife is the rest of a PIN's life once it has been claimed. Whether plex.tv counts from the claim or from the
	// first read after it is not known; from the claim is the harder case.
	claimedPINLife = 10 * time.Second

	pinLength       = 4
	strongPINLength = 25
	pinAlphabet     = "ABCDEFGHJKLMNPQRSTUVWXYZ123456789"
	strongAlphabet  = "abcdefghijklmnopqrstuvwxyz0123456789"
)

// PIN is one PIN that was minted, in its present state.
type PIN struct {
	ID               int64 // a secret, as the client identifier is: who has both can collect the token
	Code             string
	Strong           bool
	ClientIdentifier string
	Product          string
	DeviceName       string
	Provides         string
	CreatedAt        time.Time
	ExpiresAt        time.Time
	ClaimedAt        time.Time // zero: it has not been entered
	Account          string    // the username it was claimed for
	Token            string
	Collected        bool // the token has been sent to the device
}

// PINs returns every PIN that was ever minted, in order, expired ones included.
func (s *Simulator) PINs() []PIN {
	s.mu.Lock()
	defer s.mu.Unlock()
	pins := make([]PIN, len(s.pins))
	for i, p := range s.pins {
		pins[i] = *p
	}
	return pins
}

// Link enters a PIN at plex.tv/link for the account. The page does not accept strong PINs.
func (s *Simulator) Link(code string, a *Account) error {
	_, err := s.enter(code, a)
	return err
}

// enter claims a PIN as the page does. The code is taken as people type it: in any case, with blanks around it.
func (s *Simulator) enter(code string, a *Account) (PIN, error) {
	code = strings.ToUpper(strings.TrimSpace(code))
	if len(code) > pinLength {
		return PIN{}, fmt.Errorf("link PIN: a PIN has %d characters, this has %d", pinLength, len(code))
	}
	return s.claim(code, a)
}

// claim gives the PIN, strong or not, its token.
func (s *Simulator) claim(code string, a *Account) (PIN, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.open(code)
	if p == nil {
		return PIN{}, errors.New("link PIN: it was never issued, has expired or was entered before")
	}
	p.ClaimedAt = s.clock.Now()
	p.ExpiresAt = p.ClaimedAt.Add(claimedPINLife)
	p.Account = a.Username
	p.Token = s.grantToken(a, p)
	return *p, nil
}

// open finds the PIN that can be entered with this code.
func (s *Simulator) open(code string) *PIN {
	for _, p := range s.pins {
		if p.Code == code && p.ClaimedAt.IsZero() && s.clock.Now().Before(p.ExpiresAt) {
			return p
		}
	}
	return nil
}

func (s *Simulator) createPIN(c *call) answer {
	strong, _ := strconv.ParseBool(strings.ToLower(c.parameters.Get("strong")))
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	p := &PIN{
		ID: 1e9 + rand.Int64N(1e9), Strong: strong, ClientIdentifier: c.clientIdentifier, CreatedAt: now,
		Product: c.plexValue("X-Plex-Product"), DeviceName: c.plexValue("X-Plex-Device-Name"),
		Provides:  c.plexValue("X-Plex-Provides"),
		ExpiresAt: now.Add(pinLife), Code: randomText(pinAlphabet, pinLength),
	}
	for s.open(p.Code) != nil {
		p.Code = randomText(pinAlphabet, pinLength)
	}
	if strong {
		p.Code, p.ExpiresAt = randomText(strongAlphabet, strongPINLength), now.Add(strongPINLife)
	}
	s.pins = append(s.pins, p)
	s.addSecret(strconv.FormatInt(p.ID, 10))
	return c.reply(http.StatusCreated, s.pinBody(p))
}

func (s *Simulator) checkPIN(c *call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pins {
		if strconv.FormatInt(p.ID, 10) == c.PathValue("id") && p.ClientIdentifier == c.clientIdentifier &&
			s.clock.Now().Before(p.ExpiresAt) {
			p.Collected = p.Token != ""
			return c.reply(http.StatusOK, s.pinBody(p))
		}
	}
	return c.plexError(http.StatusNotFound, codePINNotFound)
}

func (s *Simulator) linkPIN(c *call) answer {
	code := strings.TrimSpace(c.parameters.Get("code"))
	if len(code) == pinLength {
		code = strings.ToUpper(code)
	}
	if _, err := s.claim(code, c.grant.account); err != nil {
		return c.plexError(http.StatusNotFound, codePINNotFound)
	}
	return answer{status: http.StatusNoContent, header: http.Header{}}
}

func (s *Simulator) pinBody(p *PIN) object {
	var authToken, newRegistration any
	if p.Token != "" {
		authToken, newRegistration = p.Token, false
	}
	product := p.Product
	if product == "" {
		product = "0"
	}
	location := object{"location", []field{
		{"code", "DE"}, {"european_union_member", true}, {"continent_code", "EU"}, {"country", "Germany"},
		{"city", "Berlin"}, {"time_zone", "Europe/Berlin"}, {"postal_code", "10115"},
		{"in_privacy_restricted_country", true}, {"in_privacy_restricted_region", false},
		{"subdivisions", "Land Berlin"}, {"coordinates", "52.52, 13.40"},
	}}
	return object{"pin", []field{
		{"id", int(p.ID)}, {"code", p.Code}, {"product", product}, {"trusted", false},
		{"qr", s.URL + "/api/v2/pins/qr/" + p.Code}, {"clientIdentifier", p.ClientIdentifier}, {"location", location},
		{"expiresIn", int(math.Ceil(p.ExpiresAt.Sub(s.clock.Now()).Seconds()))}, {"createdAt", timestamp(p.CreatedAt)},
		{"expiresAt", timestamp(p.ExpiresAt)}, {"authToken", authToken}, {"newRegistration", newRegistration},
	}}
}

func randomText(alphabet string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[rand.IntN(len(alphabet))]
	}
	return string(b)
}

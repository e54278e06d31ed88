package plex

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// text decodes a string, number or bool as a string; null is "".
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	switch b[0] {
	case '{', '[':
		return errors.New("want a string")
	case '"':
		return json.Unmarshal(b, (*string)(t))
	case 'n':
		*t = ""
	default:
		*t = text(b)
	}
	return nil
}

// flag decodes a bool, 0, 1, "0", "1", "true" or "false" as a bool; null and "" are false.
type flag bool

func (f *flag) UnmarshalJSON(b []byte) error {
	var t text
	if err := t.UnmarshalJSON(b); err != nil {
		return err
	}
	if t == "" {
		*f = false
		return nil
	}
	v, err := strconv.ParseBool(string(t))
	if err != nil {
		return errors.New("want a bool")
	}
	*f = flag(v)
	return nil
}

// number decodes a number or a string with one as an integer. A fraction is dropped; null and "" are 0.
type number int

func (n *number) UnmarshalJSON(b []byte) error {
	var t text
	if err := t.UnmarshalJSON(b); err != nil {
		return err
	}
	if t == "" {
		*n = 0
		return nil
	}
	v, err := strconv.ParseFloat(string(t), 64)
	if err != nil || math.IsNaN(v) || math.Abs(v) > math.MaxInt32 {
		return errors.New("want a number")
	}
	*n = number(v)
	return nil
}

var errUnexpected = errors.New("the answer is not the expected JSON")

// unmarshal decodes JSON that starts with the given bracket. Its error quotes nothing of the body.
func unmarshal(body []byte, bracket byte, into any) error {
	body = bytes.TrimSpace(body)
	if len(body) == 0 || body[0] != bracket || json.Unmarshal(body, into) != nil {
		return errUnexpected
	}
	return nil
}

const (
	defaultPINLife = 15 * time.Minute // plex.tv's usual life of a PIN, for an answer without one
	maxPINLife     = 24 * time.Hour
)

func decodePIN(body []byte) (PIN, error) {
	var wire struct {
		ID        text   `json:"id"`
		Code      text   `json:"code"`
		QR        text   `json:"qr"`
		ExpiresIn number `json:"expiresIn"`
	}
	if err := unmarshal(body, '{', &wire); err != nil {
		return PIN{}, err
	}
	// The id becomes part of a path, the code of a URL and of messages.
	if !isPlain(string(wire.ID), 64) || !isPlain(string(wire.Code), 64) {
		return PIN{}, errors.New("the answer holds no usable PIN")
	}
	life := min(time.Duration(wire.ExpiresIn)*time.Second, maxPINLife)
	if life <= 0 {
		life = defaultPINLife
	}
	pin := PIN{ID: Sensitive(wire.ID), Code: string(wire.Code), ExpiresIn: life}
	// The QR URL is shown in public, so it must not contain the id.
	if qr, err := parseBase(string(wire.QR)); err == nil && !strings.Contains(qr.String(), string(wire.ID)) {
		pin.QRURL = qr.String()
	}
	return pin, nil
}

// isPlain reports whether s consists of 1 to limit ASCII letters, digits, '-' and '_'.
func isPlain(s string, limit int) bool {
	return s != "" && len(s) <= limit && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// decodeAuthToken reads the authToken of a poll and nothing else, so that no change of another field can hide a token.
// It is "" while the PIN is pending.
func decodeAuthToken(body []byte) (Sensitive, error) {
	var wire struct {
		AuthToken string `json:"authToken"`
	}
	if err := unmarshal(body, '{', &wire); err != nil {
		return "", err
	}
	if !isToken(wire.AuthToken) {
		return "", errors.New("the answer holds no usable token")
	}
	return Sensitive(wire.AuthToken), nil
}

// isToken reports whether s can be sent unchanged in a header; "" can.
func isToken(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func decodeAccount(body []byte) (Account, error) {
	var wire struct {
		Username text `json:"username"`
		Title    text `json:"title"`
		UUID     text `json:"uuid"`
	}
	if err := unmarshal(body, '{', &wire); err != nil {
		return Account{}, err
	}
	name, managed := wire.Username, wire.Username == ""
	if managed {
		name = wire.Title
	}
	if name == "" && wire.UUID == "" {
		return Account{}, errors.New("the answer holds no account")
	}
	return Account{Username: clip(string(name)), UUID: clip(string(wire.UUID)), Managed: managed}, nil
}

func decodePong(body []byte) error {
	var wire struct {
		Pong flag `json:"pong"`
	}
	if err := unmarshal(body, '{', &wire); err != nil {
		return err
	}
	if !wire.Pong {
		return errors.New("the answer is not a pong")
	}
	return nil
}

// clip shortens a text that will be shown in a status, between two characters.
func clip(s string) string {
	const limit = 255
	if len(s) <= limit {
		return s
	}
	end := limit
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

type apiError struct {
	Code    number `json:"code"`
	Message text   `json:"message"`
}

type apiErrors []apiError

func (e apiErrors) has(code number) bool {
	return slices.ContainsFunc(e, func(e apiError) bool { return e.Code == code })
}

func (e apiErrors) says(message string) bool {
	return slices.ContainsFunc(e, func(e apiError) bool { return strings.EqualFold(string(e.Message), message) })
}

// decodeErrors reads plex.tv's error bodies: {"errors":[…]}, {"error":"…"} and <errors>. It returns nil for others.
func decodeErrors(body []byte) apiErrors {
	var wire struct {
		Errors apiErrors `json:"errors"`
		Error  text      `json:"error"`
	}
	if unmarshal(body, '{', &wire) == nil {
		if len(wire.Errors) == 0 && wire.Error != "" {
			return apiErrors{{Message: wire.Error}}
		}
		return wire.Errors
	}
	var doc struct {
		XMLName xml.Name `xml:"errors"`
		Errors  []struct {
			Code    string `xml:"code,attr"`
			Message string `xml:"message,attr"`
			Text    string `xml:",chardata"`
		} `xml:"error"`
	}
	if xml.Unmarshal(bytes.TrimSpace(body), &doc) != nil {
		return nil
	}
	var errs apiErrors
	for _, e := range doc.Errors {
		code, _ := strconv.Atoi(e.Code) // older endpoints send none
		errs = append(errs, apiError{Code: number(code), Message: text(e.Message + strings.TrimSpace(e.Text))})
	}
	return errs
}

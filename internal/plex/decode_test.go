package plex

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

const (
	pinBody = `{"id":12345678,"code":"ABCD","product":"0","trusted":false,"qr":"https://plex.tv/api/v2/pins/qr/ABCD",
		"clientIdentifier":"my-unique-app-id","location":{"code":"DE","postal_code":10115,"coordinates":"52.5, 13.4"},
		"expiresIn":900,"createdAt":"2025-03-07T05:24:00Z","expiresAt":"2025-03-07T05:39:00Z","authToken":null,
		"newRegistration":null}`
	userBody = `{"id":1,"uuid":"u-1","username":"alice","title":"Alice","email":"a@example.com","country":null}`
)

func TestDecodePIN(t *testing.T) {
	t.Parallel()
	const qr = "https://plex.tv/api/v2/pins/qr/ABCD"
	full := PIN{ID: "12345678", Code: "ABCD", ExpiresIn: 15 * time.Minute, QRURL: qr}
	for name, tc := range map[string]struct {
		body string
		want PIN
	}{
		"recorded":           {pinBody, full},
		"id as a string":     {`{"id":"12345678","code":"ABCD","expiresIn":"900","qr":"` + qr + `"}`, full},
		"without an expiry":  {`{"id":12345678,"code":"ABCD","qr":"` + qr + `"}`, full},
		"nulls":              {`{"id":7,"code":"ABCD","expiresIn":null,"qr":null}`, PIN{ID: "7", Code: "ABCD", ExpiresIn: defaultPINLife}},
		"fraction":           {`{"id":7,"code":"ABCD","expiresIn":10.9}`, PIN{ID: "7", Code: "ABCD", ExpiresIn: 10 * time.Second}},
		"absurd expiry":      {`{"id":7,"code":"ABCD","expiresIn":1999999999}`, PIN{ID: "7", Code: "ABCD", ExpiresIn: maxPINLife}},
		"QR URL with the id": {`{"id":7654321,"code":"ABCD","expiresIn":9,"qr":"https://x/7654321"}`, PIN{ID: "7654321", Code: "ABCD", ExpiresIn: 9 * time.Second}},
		"script as QR URL":   {`{"id":7,"code":"ABCD","expiresIn":9,"qr":"javascript:alert(1)"}`, PIN{ID: "7", Code: "ABCD", ExpiresIn: 9 * time.Second}},
		"no id":              {`{"code":"ABCD"}`, PIN{}},
		"no code":            {`{"id":7}`, PIN{}},
		"id that is a path":  {`{"id":"../user","code":"ABCD"}`, PIN{}},
		"code with markup":   {`{"id":7,"code":"<b>"}`, PIN{}},
		"object as id":       {`{"id":{},"code":"ABCD"}`, PIN{}},
		"truncated":          {pinBody[:100], PIN{}},
		"two documents":      {pinBody + pinBody, PIN{}},
		"null":               {`null`, PIN{}},
		"XML":                {`<pin id="7" code="ABCD"/>`, PIN{}},
		"empty":              {``, PIN{}},
	} {
		got, err := decodePIN([]byte(tc.body))
		if diff := cmp.Diff(tc.want, got); diff != "" || (err != nil) != (tc.want == PIN{}) {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

func TestDecodeAuthTokenReadsNothingElse(t *testing.T) {
	t.Parallel()
	const bad = "an error"
	for body, want := range map[string]string{
		pinBody:                            "",
		`{"authToken":"xXxXxxxxXxXxXxXx"}`: "xXxXxxxxXxXxXxXx",
		`{"id":{},"code":7,"expiresIn":"soon","location":null,"authToken":"xXxX"}`: "xXxX",
		`{"id":12345678,"code":"ABCD"}`:                                            "",
		`{"authToken":""}`:                                                         "",
		`{"authToken":false}`:                                                      bad,
		`{"authToken":7}`:                                                          bad,
		`{"authToken":{}}`:                                                         bad,
		`{"authToken":"a b"}`:                                                      bad,
		`{"authToken":"a\nb"}`:                                                     bad,
		`{"authToken":"xXx`:                                                        bad,
		`[]`:                                                                       bad,
		`null`:                                                                     bad,
		`<html>`:                                                                   bad,
		``:                                                                         bad,
	} {
		got, err := decodeAuthToken([]byte(body))
		if err != nil {
			got = bad
		}
		if got.Reveal() != want {
			t.Errorf("%s: got %q, want %q", body, got.Reveal(), want)
		}
	}
}

func TestDecodeAccount(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]Account{
		userBody:                          {Username: "alice", UUID: "u-1"},
		`{"username":null,"title":"Kid"}`: {Username: "Kid", Managed: true},
		`{"username":"","title":7}`:       {Username: "7", Managed: true},
		`{}`:                              {},
		`{"username":["alice"]}`:          {},
		`<user/>`:                         {},
	} {
		got, err := decodeAccount([]byte(body))
		if got != want || (err != nil) != (want == Account{}) {
			t.Errorf("%s: got %+v, %v, want %+v", body, got, err, want)
		}
	}
}

func TestAccountMatches(t *testing.T) {
	t.Parallel()
	alice := Account{Username: "Alice", UUID: "U-1"}
	for _, tc := range []struct {
		account        Account
		username, uuid string
		want           bool
	}{
		{alice, "", "", true},
		{alice, "Alice", "", true},
		{alice, "aLICE", "", true},
		{alice, "alic", "", false},
		{alice, "bob", "", false},
		{alice, "", "U-1", true},
		{alice, "", "u-1", true},
		{alice, "", "u-10", false},
		{alice, "", "Alice", false},
		{alice, "U-1", "", false},
		{alice, "alice", "u-1", true},
		{alice, "alice", "u-2", false},
		{alice, "bob", "u-1", false},
		{Account{Username: "alice", UUID: "m", Managed: true}, "alice", "", false},
		{Account{Username: "alice", UUID: "m", Managed: true}, "", "m", true},
		{Account{}, "", "", true},
		{Account{}, "alice", "", false},
		{Account{}, "", "u-1", false},
	} {
		if got := tc.account.Matches(tc.username, tc.uuid); got != tc.want {
			t.Errorf("%+v matches username %q and uuid %q: got %t, want %t", tc.account, tc.username, tc.uuid, got, tc.want)
		}
	}
}

func TestDecodeIdentity(t *testing.T) {
	t.Parallel()
	want := identity{"server-uuid", "1.43.0"}
	for body, want := range map[string]identity{
		`{"MediaContainer":{"size":0,"claimed":true,"machineIdentifier":"server-uuid","version":"1.43.0"}}`: want,
		`<?xml version="1.0" encoding="UTF-8"?>
			<MediaContainer size="0" claimed="1" machineIdentifier="server-uuid" version="1.43.0"></MediaContainer>`: want,
		`{"MediaContainer":{"machineIdentifier":null}}`: {},
		`{"MediaContainer":[]}`:                         {},
		`<Other machineIdentifier="server-uuid"/>`:      {},
		`<html>`: {},
		``:       {},
	} {
		if got, err := decodeIdentity([]byte(body)); got != want || (err != nil) != (want == identity{}) {
			t.Errorf("%s: got %+v, %v, want %+v", body, got, err, want)
		}
	}
}

func TestClipKeepsRunesWhole(t *testing.T) {
	t.Parallel()
	got := clip(strings.Repeat("ä", 200))
	if len(got) != 254 || !utf8.ValidString(got) {
		t.Errorf("got %d bytes, valid: %t; want 254, true", len(got), utf8.ValidString(got))
	}
}

// fuzz checks that a decoder neither panics nor returns an error that quotes the body.
func fuzz(f *testing.F, decode func(*testing.T, []byte) error, seeds ...string) {
	for _, seed := range append(seeds, ``, `null`, `{}`, `[]`, `{"errors":[{"code":1001,"message":"m","status":401}]}`,
		`{"error":"m"}`, `<errors><error code="1001" message="m" status="401"/></errors>`, `<html><body>502</body></html>`) {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if err := decode(t, body); err != nil && len(err.Error()) > 100 {
			t.Errorf("the error quotes the body: %q", err)
		}
	})
}

func FuzzDecodePIN(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) error {
		pin, err := decodePIN(body)
		if err == nil && (pin.ExpiresIn <= 0 || pin.ID == "" || pin.Code == "" || strings.Contains(pin.ID.Reveal(), "/")) {
			t.Errorf("got an unusable PIN: %+v", pin)
		}
		return err
	}, pinBody, `{"id":"7","code":"ABCD","expiresIn":"10"}`)
}

func FuzzDecodeAuthToken(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) error {
		token, err := decodeAuthToken(body)
		if strings.ContainsAny(token.Reveal(), " \r\n\x00") {
			t.Errorf("got %q, want a token that a header can hold", token.Reveal())
		}
		return err
	}, pinBody, `{"authToken":"xXxXxxxxXxXxXxXx"}`)
}

func FuzzDecodeAccount(f *testing.F) {
	fuzz(f, func(_ *testing.T, body []byte) error {
		_, err := decodeAccount(body)
		return err
	}, userBody)
}

func FuzzDecodePong(f *testing.F) {
	fuzz(f, func(_ *testing.T, body []byte) error { return decodePong(body) }, `{"pong":true}`, `{"pong":"1"}`)
}

func FuzzDecodeErrors(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) error {
		err := answer{status: 400, body: body}.failure(false, true)
		if len(err.Error()) > 400 || strings.ContainsAny(err.Error(), "\n\x00") {
			t.Errorf("got %q, want one bounded line", err)
		}
		return nil
	}, `{"errors":[{"code":"1020","message":null}]}`, `<errors><error>Invalid token</error></errors>`)
}

func FuzzIdentity(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) error {
		id, err := decodeIdentity(body)
		if (err == nil) != (id.machineIdentifier != "") {
			t.Errorf("got %+v, %v", id, err)
		}
		return err
	}, `{"MediaContainer":{"size":0,"claimed":true,"machineIdentifier":"server-uuid","version":"1.43.0"}}`,
		`<MediaContainer size="0" machineIdentifier="server-uuid" version="1.43.0"/>`)
}

package controller

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"plexlink.dev/operator/internal/plex"
)

var start = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// transitions are all of them, each with the condition under which the steps make it.
var transitions = []struct {
	name string
	may  func(state) bool
	make func(state) state
}{
	{"linkRequested", always, func(s state) state { return s.linkRequested("again", start) }},
	{"relinkDropped", always, state.relinkDropped},
	{"pinMinted", func(s state) bool {
		return !s.pinOpen() && s.PendingToken == "" && s.StrayToken == "" && s.Unentered < maxUnentered
	}, func(s state) state {
		return s.pinMinted(plex.PIN{ID: "1", Code: "ABCD", ExpiresIn: 15 * time.Minute}, start)
	}},
	{"pinGone", state.pinOpen, func(s state) state { return s.pinGone(start) }},
	{"claimRefused", state.pinOpen, func(s state) state { return s.claimRefused("HTTP 403") }},
	{"tokenReceived", state.pinOpen, func(s state) state { return s.tokenReceived("new", start) }},
	{"tokenPending", state.pinOpen, func(s state) state { return s.tokenPending("pending") }},
	{"accountAccepted", pending, func(s state) state { return s.accountAccepted(alice, start) }},
	{"strangerEntered", pending, func(s state) state { return s.strangerEntered(bob, start) }},
	{"pendingInvalid", pending, func(s state) state { return s.pendingInvalid(start) }},
	{"strayGone", func(s state) bool { return s.StrayToken != "" }, state.strayGone},
	{"imported", func(s state) bool { return !s.authorized() && !s.pinOpen() && s.PendingToken == "" }, func(s state) state {
		return s.imported("other", "imported", alice, "uid/1", start)
	}},
	{"importRefused", func(s state) bool { return !s.authorized() }, func(s state) state { return s.importRefused("uid/1", "no") }},
	{"accountKnown", func(s state) bool { return s.Token != "" }, func(s state) state { return s.accountKnown(bob) }},
	{"tokenRevoked", state.authorized, func(s state) state { return s.tokenRevoked(start) }},
	{"pinged", state.authorized, func(s state) state { return s.pinged(start) }},
	{"serverProven", state.authorized, func(s state) state {
		return s.serverProven(server{Name: "S", MachineIdentifier: "m", URL: "http://192.168.1.1:32400", Spec: "x"}, "server", start)
	}},
	{"serverFailed", state.authorized, func(s state) state {
		return s.serverFailed(serverProblem{Reason: "ServerUnreachable", Spec: "y"}, start)
	}},
	{"serverFailed with a no", state.authorized, func(s state) state {
		return s.serverFailed(serverProblem{Reason: "ServerNotFound", Definite: true, Spec: "y"}, start)
	}},
	{"serverFailed with a no, later", state.authorized, func(s state) state {
		return s.serverFailed(serverProblem{Reason: "ServerNotFound", Definite: true, Spec: "y"}, start.Add(time.Hour))
	}},
	{"addressDoubted", state.authorized, func(s state) state { return s.addressDoubted(start) }},
	{"tokenRefused", state.authorized, func(s state) state { return s.tokenRefused(start) }},
	{"serversListed", state.authorized, func(s state) state { return s.serversListed([]serverChoice{{MachineIdentifier: "m"}}) }},
	{"refreshHandled", always, func(s state) state { return s.refreshHandled("now") }},
	{"adopted", always, func(s state) state { return s.adopted(newState("fresh", "")) }},
	{"signedOut", always, state.signedOut},
}

var alice, bob = plex.Account{Username: "alice", UUID: "a"}, plex.Account{Username: "bob", UUID: "b"}

func always(state) bool    { return true }
func pending(s state) bool { return s.PendingToken != "" }

// FuzzTransitions applies any sequence of transitions: the rules of check hold after each, and the state survives the
// device Secret unchanged.
func FuzzTransitions(f *testing.F) {
	f.Add([]byte{2, 4, 15, 0, 2, 4, 12, 9})
	f.Add([]byte{2, 5, 7, 9, 2, 5, 6, 15, 13, 10, 19})
	f.Fuzz(func(t *testing.T, sequence []byte) {
		s := newState("identifier", "")
		var applied []string
		for _, b := range sequence {
			next := transitions[int(b)%len(transitions)]
			if !next.may(s) {
				continue
			}
			s = next.make(s)
			applied = append(applied, next.name)
			if err := s.check(); err != nil {
				t.Fatalf("after %v: %v", applied, err)
			}
			data, err := s.encode()
			if err != nil {
				t.Fatal(err)
			}
			if back, err := decodeState(data); err != nil || !reflect.DeepEqual(back, s) {
				t.Fatalf("after %v the state came back as %+v (%v), want %+v", applied, back, err, s)
			}
		}
	})
}

func TestRequestForALinkWhosePINIsOpenKeepsThePIN(t *testing.T) {
	t.Parallel()
	open := newState("identifier", "").pinMinted(plex.PIN{ID: "1", Code: "ABCD", ExpiresIn: time.Minute}, start)
	got := open.linkRequested("again", start)
	if err := got.check(); err != nil || got.PIN != open.PIN || got.Unentered != 1 {
		t.Errorf("got the PIN %+v, counted %d, %v, want the open one, counted once", got.PIN, got.Unentered, err)
	}
}

func TestHalfAPINIsDropped(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]map[string][]byte{
		"without its code": {keyState: []byte(`{}`), keyPINID: []byte("1")},
		"without its id":   {keyState: []byte(`{"unentered":1,"pin":{"code":"ABCD","expirationTime":"2026-01-02T12:00:00Z"}}`)},
	} {
		data[keyClientIdentifier], data[keyToken] = []byte("id"), []byte("token")
		s, err := decodeState(data)
		if err != nil || s.pinOpen() || s.PIN != (openPIN{}) || s.Token != "token" {
			t.Errorf("%s: got PIN open %t, token %t, error %v, want the token and no PIN", name, s.pinOpen(), s.hasToken(), err)
		}
	}
}

// FuzzDecodeState reads any device Secret: it fails or returns a state that keeps the rules, and its error shows nothing.
func FuzzDecodeState(f *testing.F) {
	f.Add([]byte(`{"unentered":1,"pin":{"code":"ABCD","expirationTime":"2026-01-02T12:00:00Z"}}`), "id", "", "1")
	f.Add([]byte(`{"server":{"name":"S"}}`), "id", "token", "")
	f.Add([]byte(`{"unentered":"sentinel"}`), "sentinel", "", "")
	f.Fuzz(func(t *testing.T, text []byte, identifier, token, pin string) {
		s, err := decodeState(map[string][]byte{
			keyState: text, keyClientIdentifier: []byte(identifier), keyToken: []byte(token), keyPINID: []byte(pin),
		})
		if err != nil {
			if len(identifier) > 20 && strings.Contains(err.Error(), identifier) {
				t.Errorf("error shows the data: %v", err)
			}
			return
		}
		if err := s.check(); err != nil {
			t.Errorf("decoded a state that breaks a rule: %v", err)
		}
	})
}

func TestNewTokenOfAnotherAccountLeavesTheOldOneToBeSignedOut(t *testing.T) {
	t.Parallel()
	linked := newState("id", "").pinMinted(plex.PIN{ID: "1", Code: "ABCD", ExpiresIn: time.Minute}, start).
		tokenReceived("first", start).accountKnown(alice)
	relinking := linked.linkRequested("again", start).pinMinted(plex.PIN{ID: "2", Code: "EFGH", ExpiresIn: time.Minute}, start)
	for name, test := range map[string]struct {
		got  state
		want plex.Sensitive
	}{
		"account of the new token not known yet": {relinking.tokenReceived("second", start), "first"},
		"same account":                           {relinking.tokenReceived("second", start).accountKnown(alice), ""},
		"another account":                        {relinking.tokenReceived("second", start).accountKnown(bob), "first"},
		"the old token was revoked":              {linked.tokenRevoked(start).pinMinted(plex.PIN{ID: "2", Code: "E"}, start).tokenReceived("second", start), ""},
		"a stranger entered":                     {relinking.tokenPending("second").strangerEntered(bob, start), "second"},
	} {
		if test.got.StrayToken != test.want {
			t.Errorf("%s: got stray token %q, want %q", name, test.got.StrayToken.Reveal(), test.want.Reveal())
		}
	}
	if s := relinking.tokenPending("second").strangerEntered(bob, start); s.Token != "first" || s.Account != alice {
		t.Errorf("a stranger replaced the token or its account: %+v", s)
	}
}

func TestAdoptionTakesATokenButNeitherPINNorIdentifierWithoutOne(t *testing.T) {
	t.Parallel()
	fresh := newState("fresh", "asked")
	planted := newState("planted", "").pinMinted(plex.PIN{ID: "1", Code: "ABCD", ExpiresIn: time.Minute}, start)
	linked := planted.tokenReceived("token", start).accountKnown(alice).
		serverProven(server{Name: "S", URL: "http://192.168.1.1:32400", Spec: "x"}, "server", start)
	for name, from := range map[string]state{"open PIN": planted, "nothing": newState("planted", ""), "revoked token": linked.tokenRevoked(start)} {
		if got := from.adopted(fresh); !reflect.DeepEqual(got, fresh) {
			t.Errorf("%s: got %+v, want a fresh state", name, got)
		}
	}
	relinking := linked.linkRequested("again", start).pinMinted(plex.PIN{ID: "2", Code: "EFGH", ExpiresIn: time.Minute}, start)
	got := relinking.adopted(fresh)
	if got.ClientIdentifier != "planted" || got.Token != "token" || got.pinOpen() || got.Relink || !got.Unproven || got.Server != (server{}) {
		t.Errorf("got %+v, want the token and its identifier alone, unproven", got)
	}
}

func TestTimeInTheFutureIsIgnored(t *testing.T) {
	t.Parallel()
	if got := sane(start.Add(time.Hour), start); !got.IsZero() {
		t.Errorf("got %s, want the zero time", got)
	}
	if got := sane(start, start); got != start {
		t.Errorf("got %s, want %s", got, start)
	}
}

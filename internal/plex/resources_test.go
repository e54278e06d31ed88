package plex

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plexlink.dev/operator/internal/plex/plextest"
)

const (
	serverBody = `{"name":"My Plex Server","product":"Plex Media Server","productVersion":"1.43.0.1234",
		"clientIdentifier":"server-uuid","provides":"server","ownerId":null,"sourceTitle":null,"accessToken":"xXxXxxxx",
		"owned":true,"presence":1,"httpsRequired":0,"publicAddressMatches":"1","connections":[
		{"protocol":"https","address":"192.168.1.100","port":32400,
		"uri":"https://192-168-1-100.abc.plex.direct:32400","local":true,"relay":false,"IPv6":0},
		{"protocol":"https","address":"plex.example.com","port":"443","uri":"https://plex.example.com","local":"0",
		"relay":null}]}`
	playerBody = `{"name":"Phone","provides":"client,player,media-server-controller","accessToken":null,
		"clientIdentifier":"phone","connections":[{"port":{"drifted":true}}]}`
)

func decodeText(body string) (Resources, error) { return decodeResources(strings.NewReader(body)) }

func TestDecodeResources(t *testing.T) {
	t.Parallel()
	got, err := decodeText(`[` + playerBody + `,` + serverBody + `]`)
	if err != nil {
		t.Fatal(err)
	}
	want := Resources{Servers: []Server{{
		Name: "My Plex Server", MachineIdentifier: "server-uuid", Version: "1.43.0.1234", Owned: true,
		AccessToken: "xXxXxxxx",
		Connections: []Connection{
			{Address: "192.168.1.100", Port: 32400, URI: "https://192-168-1-100.abc.plex.direct:32400", Local: true},
			{Address: "plex.example.com", Port: 443, URI: "https://plex.example.com"},
		},
	}}}
	if diff := cmp.Diff(want, got); diff != "" || got.Servers[0].AccessToken.Reveal() != "xXxXxxxx" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, err := decodeText(` [] `); err != nil || len(got.Servers)+got.Skipped != 0 {
		t.Errorf("an empty list: got %v, %v, want no servers", got, err)
	}
}

// Each odd record stands between two good servers, which must be found all the same.
func TestAnOddRecordHidesNoOtherServer(t *testing.T) {
	t.Parallel()
	const odd = `"provides":"server","clientIdentifier":"odd"`
	for record, want := range map[string]struct {
		servers     int
		connections int // of the odd server
		skipped     int
	}{
		`{` + odd + `}`:        {3, 0, 0},
		`null`:                 {2, 0, 1},
		`"server"`:             {2, 0, 1},
		`7`:                    {2, 0, 1},
		`[` + serverBody + `]`: {2, 0, 1},
		`{"provides":{}}`:      {2, 0, 1},
		`{"provides":["server"],"clientIdentifier":"odd"}`:                                     {2, 0, 1},
		`{"provides":"server"}`:                                                                {2, 0, 1},
		`{"provides":"server","clientIdentifier":null}`:                                        {2, 0, 1},
		`{"provides":"server","clientIdentifier":""}`:                                          {2, 0, 1},
		`{"provides":"server","clientIdentifier":{}}`:                                          {2, 0, 1},
		`{"provides":"server","clientIdentifier":"a b"}`:                                       {2, 0, 1},
		`{"provides":"player, server ","clientIdentifier":"` + strings.Repeat("a", 256) + `"}`: {2, 0, 1},
		`{` + odd + `,"httpsRequired":2}`:                                                      {2, 0, 1},
		`{` + odd + `,"owned":"perhaps"}`:                                                      {2, 0, 1},
		`{` + odd + `,"accessToken":7}`:                                                        {2, 0, 1},
		`{` + odd + `,"accessToken":"a\nb"}`:                                                   {2, 0, 1},
		`{` + odd + `,"name":[]}`:                                                              {2, 0, 1},
		`{` + odd + `,"name":null,"productVersion":null,"accessToken":null}`:                   {3, 0, 0},
		`{` + odd + `,"connections":null}`:                                                     {3, 0, 0},
		`{` + odd + `,"connections":{}}`:                                                       {3, 0, 1},
		`{` + odd + `,"connections":[null]}`:                                                   {3, 0, 1},
		`{` + odd + `,"connections":[null,7,{"uri":"http://192.168.1.1:1"},{"local":2}]}`:      {3, 1, 1},
		`{` + odd + `,"connections":[{"port":"auto"},{"port":"32400","address":"192.0.2.1"}]}`: {3, 1, 1},
		// These say that they are no servers.
		`{"provides":"client,player","clientIdentifier":null,"httpsRequired":2}`:           {2, 0, 0},
		`{"provides":"media-server-controller","connections":[{"port":"auto"}],"name":{}}`: {2, 0, 0},
		`{"provides":null,"name":{}}`: {2, 0, 0},
		`{"provides":"","owned":{}}`:  {2, 0, 0},
		playerBody:                    {2, 0, 0},
	} {
		got, err := decodeText(`[` + serverBody + `,` + record + `,` + serverBody + `]`)
		if err != nil || len(got.Servers) != want.servers || got.Skipped != want.skipped {
			t.Errorf("%s: got %d servers, %d skipped, %v; want %d, %d", record, len(got.Servers), got.Skipped, err, want.servers, want.skipped)
			continue
		}
		for _, s := range got.Servers {
			if s.MachineIdentifier == "odd" && len(s.Connections) != want.connections {
				t.Errorf("%s: got the connections %+v, want %d", record, s.Connections, want.connections)
			}
		}
	}
}

// A list that cannot be read in full must not look like an account with fewer servers.
func TestAMalformedListIsUnavailableAsAWhole(t *testing.T) {
	t.Parallel()
	good := `[` + serverBody + `,` + serverBody + `]`
	bodies := []string{
		``, ` `, `null`, `{}`, `7`, `"server"`, `{"error":"x"}`, `<resources/>`, good + `x`, good + `[]`, good + good, `[,]`, `[}`,
		`[` + serverBody + `,]`, `[` + serverBody + ` ` + serverBody + `]`, `[` + serverBody + `}`,
	}
	for end := range len(good) {
		bodies = append(bodies, good[:end])
	}
	for _, body := range bodies {
		if got, err := decodeText(body); err == nil || len(got.Servers)+got.Skipped > 0 {
			t.Errorf("%s: got %+v, %v, want an error and nothing else", body, got, err)
		}
	}
}

func TestOnlyASharedServerHasAnOwner(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`[{"provides":"server","clientIdentifier":"a","owned":false,"sourceTitle":"bob"}]`:  "bob",
		`[{"provides":"server","clientIdentifier":"a","owned":"0","sourceTitle":"bob"}]`:    "bob",
		`[{"provides":"server","clientIdentifier":"a","owned":false,"sourceTitle":null}]`:   "",
		`[{"provides":"server","clientIdentifier":"a","owned":true,"sourceTitle":"alice"}]`: "",
		`[{"provides":"server","clientIdentifier":"a","owned":true,"sourceTitle":null}]`:    "",
	} {
		if got, err := decodeText(body); err != nil || len(got.Servers) != 1 || got.Servers[0].Owner != want {
			t.Errorf("%s: got %+v, %v, want the owner %q", body, got, err, want)
		}
	}
}

// blanks is a reader of endless blanks.
type blanks struct{}

func (blanks) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// padded returns the list with the server, of the size, padded with blanks.
func padded(size int64) io.Reader {
	rest := size - int64(len(serverBody)) - 2
	return io.MultiReader(strings.NewReader(`[`), io.LimitReader(blanks{}, rest), strings.NewReader(serverBody+`]`))
}

func TestAListOf16MiBIsReadAndALargerOneIsNot(t *testing.T) {
	t.Parallel()
	if got, err := decodeResources(padded(16 << 20)); err != nil || len(got.Servers) != 1 {
		t.Errorf("16 MiB: got %+v, %v; want one server", got, err)
	}
	for name, body := range map[string]io.Reader{
		"one byte more": padded(16<<20 + 1),
		"blanks after":  io.MultiReader(strings.NewReader(`[`+serverBody+`]`), blanks{}),
		"blanks only":   blanks{},
		"a value":       io.MultiReader(strings.NewReader(`["`), blanks{}),
	} {
		if got, err := decodeResources(body); err != ErrListTooLarge || len(got.Servers) > 0 { //nolint:errorlint // itself
			t.Errorf("%s: got %+v, %v; want %v", name, got, err, ErrListTooLarge)
		}
	}
}

func TestResourcesOfALargeAccount(t *testing.T) {
	t.Parallel()
	var over bool
	plexTV := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `[`)
		for i := range 8000 {
			fmt.Fprintf(w, `{"name":"ghost %d","provides":"client","padding":"%2000s"},`, i, "")
		}
		fmt.Fprint(w, serverBody+`]`)
		if over {
			_, _ = io.CopyN(w, blanks{}, 1<<20)
		}
	}))
	t.Cleanup(plexTV.Close)
	client, err := NewClient(Options{BaseURL: plexTV.URL, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.Resources(t.Context(), Device{}, "account")
	if err != nil || len(got.Servers) != 1 || got.Skipped != 0 {
		t.Errorf("8,000 devices: got %+v, %v; want one server", got, err)
	}
	over = true
	_, err = client.Resources(t.Context(), Device{}, "account")
	if !errors.Is(err, ErrListTooLarge) || !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), ErrUnavailable.Error()) {
		t.Errorf("more than 16 MiB: got %v; want %v, which blames the account and not plex.tv", err, ErrListTooLarge)
	}
}

func TestAnOwnedServerWithoutATokenGetsTheAccounts(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.link(t, h.owner)
	h.sim.Fault(plextest.Fault{Endpoint: plextest.Resources, Body: `[
		{"provides":"server","clientIdentifier":"mine","owned":true,"accessToken":null},
		{"provides":"server","clientIdentifier":"theirs","owned":false,"accessToken":null}, null]`})
	got, err := h.client.Resources(t.Context(), h.device, h.token)
	if err != nil || len(got.Servers) != 2 || got.Servers[0].AccessToken != h.token || got.Servers[1].AccessToken != "" || got.Skipped != 1 {
		t.Errorf("got %+v, %v; want the account's token for the owned server only, and 1 skipped", got, err)
	}
}

// It is not parallel: it measures the memory of the process.
func TestTheListIsNotHeldInMemory(t *testing.T) {
	ghost := `{"name":"ghost","provides":"client","padding":"` + strings.Repeat("x", 2000) + `"},`
	body := io.MultiReader(strings.NewReader(`[`), strings.NewReader(strings.Repeat(ghost, 8000)), strings.NewReader(serverBody+`]`))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := decodeResources(body)
	runtime.ReadMemStats(&after)
	t.Logf("%d KiB allocated for 16 MiB", (after.TotalAlloc-before.TotalAlloc)>>10)
	if allocated := after.TotalAlloc - before.TotalAlloc; err != nil || len(got.Servers) != 1 || allocated > 8<<20 {
		t.Errorf("got %+v, %v, %d MiB allocated for 16 MiB; want one server and at most 8 MiB in all", got, err, allocated>>20)
	}
}

func FuzzDecodeResources(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) error {
		list, err := decodeResources(strings.NewReader(string(body)))
		if err != nil && len(list.Servers)+list.Skipped > 0 {
			t.Errorf("got %+v and %v, want one of them", list, err)
		}
		for _, s := range list.Servers {
			if s.MachineIdentifier == "" || !isToken(s.MachineIdentifier) || !isToken(s.AccessToken.Reveal()) || s.Owned && s.Owner != "" {
				t.Errorf("got the unusable server %+v", s)
			}
			checkCandidates(t, s, Preferences{Locations: []Location{Local, Remote, Relay, Cluster}, Schemes: []string{"https", "http"}})
		}
		_, _ = SelectServer(list.Servers, Selector{})
		return err
	}, `[`+serverBody+`]`, `[`+playerBody+`,`+serverBody+`]`, `[null,`+serverBody+`,{"provides":"server"}]`,
		`[{"provides":"server","clientIdentifier":"a","connections":[{"port":"auto"},{"uri":"http://plex.media.svc"}]}]`)
}

func TestUnreadableRecordNamesItsServerIfPossible(t *testing.T) {
	t.Parallel()
	for record, want := range map[string][]string{
		`null`:                  {""},
		`{"provides":"server"}`: {""},
		`{"provides":"server","clientIdentifier":{}}`:                     {""},
		`{"provides":"server","clientIdentifier":"odd","accessToken":7}`:  {"odd"},
		`{"provides":"server","clientIdentifier":"odd","connections":{}}`: nil, // It is in the list, without an address.
		`{"provides":"player","clientIdentifier":"odd","accessToken":7}`:  nil,
	} {
		if got, err := decodeText(`[` + record + `]`); err != nil || !slices.Equal(got.Unreadable, want) {
			t.Errorf("%s: got %q, %v, want %q", record, got.Unreadable, err, want)
		}
	}
}

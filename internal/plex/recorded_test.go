package plex

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plexlink.dev/operator/internal/plex/plextest"
)

// The bodies here have the shapes that others recorded, with the fields that PlexLink does not read; all values are made up.
const (
	recordedPIN = `{"id":1234567890,"code":"ABCD","product":"PlexLink","trusted":false,"qr":"https://plex.tv/api/v2/pins/qr/ABCD",
		"clientIdentifier":"3f1c6f0e-device","location":{"code":"DE","european_union_member":true,"continent_code":"EU",
		"country":"Germany","city":"Berlin","time_zone":"Europe/Berlin","postal_code":%s,"in_privacy_restricted_country":true,
		"in_privacy_restricted_region":null,"subdivisions":"Land Berlin","coordinates":"52.52, 13.40"},"expiresIn":%s,
		"createdAt":"2025-03-07T05:24:00Z","expiresAt":"2025-03-07T05:39:00Z","authToken":%s,"newRegistration":%s}`
	recordedUser = `{"id":1000001,"uuid":"0123456789abcdef","username":%s,"title":%s,"email":"alice@example.com","friendlyName":"",
		"locale":null,"confirmed":true,"joinedAt":1400000000,"emailOnlyAuth":false,"hasPassword":true,"protected":0,
		"thumb":"https://plex.tv/users/0123456789abcdef/avatar?c=1","authToken":"xXxX","mailingListStatus":null,
		"mailingListActive":false,"scrobbleTypes":"","country":"DE","pin":"","subscription":{"active":false,"subscribedAt":null,
		"status":"Inactive","paymentService":null,"plan":null,"features":[]},"subscriptionDescription":null,"restricted":"0",
		"anonymous":null,"home":true,"guest":false,"homeSize":"2","homeAdmin":true,"maxHomeSize":15,"rememberExpiresAt":null,
		"profile":{"autoSelectAudio":true,"defaultAudioLanguage":null},"entitlements":[],"roles":["plexpass"],"services":[],
		"adsConsent":null,"experimentalFeatures":false,"twoFactorEnabled":true,"backupCodesCreated":true}`
	recordedServer = `{"name":"NAS","product":"Plex Media Server","productVersion":"1.43.0.1234-abcdef012","platform":"Linux",
		"platformVersion":"5.10.55","device":"Docker Container","clientIdentifier":"0123456789abcdef0123456789abcdef01234567",
		"createdAt":"2020-01-01T00:00:00Z","lastSeenAt":"2025-03-07T05:00:00Z","provides":"server","ownerId":null,
		"sourceTitle":null,"publicAddress":"203.0.113.7","accessToken":"xXxX","owned":true,"home":false,"synced":false,
		"relay":true,"presence":false,"httpsRequired":%s,"publicAddressMatches":true,"dnsRebindingProtection":false,
		"natLoopbackSupported":false,"connections":[%s]}`
	recordedPlayer = `{"name":"Living room","product":"Plex for LG","productVersion":"5.60.1","platform":"webOS","platformVersion":"6.0",
		"device":"OLED55","clientIdentifier":"player","createdAt":"2020-01-01T00:00:00Z","lastSeenAt":"2025-03-07T05:00:00Z",
		"provides":"client,player,pubsub-player","ownerId":null,"sourceTitle":null,"publicAddress":"203.0.113.7","accessToken":null,
		"owned":true,"home":false,"synced":false,"relay":false,"presence":true,"httpsRequired":false,"publicAddressMatches":true,
		"connections":[{"protocol":"http","address":"192.168.1.30","port":32433,"uri":"http://192.168.1.30:32433","local":true,
		"relay":false,"IPv6":false}]}`
)

// connection returns a connection as recorded.
func recordedConnection(scheme, host, address, port, local, relay, ipv6 string) string {
	return fmt.Sprintf(`{"protocol":%q,"address":%q,"port":%s,"uri":"%s://%s","local":%s,"relay":%s,"IPv6":%s}`,
		scheme, address, port, scheme, host, local, relay, ipv6)
}

// fifteen returns the connections of the server that is recorded with the most: 15 local addresses, most of them bridges of
// containers.
func fifteen() (connections, urls []string) {
	for i := range 15 {
		connections = append(connections, recordedConnection("https", fmt.Sprintf("172-%d-0-1.abc.plex.direct:32400", 17+i),
			fmt.Sprintf("172.%d.0.1", 17+i), "32400", "true", "false", "false"))
		urls = append(urls, fmt.Sprintf("https://172-%d-0-1.abc.plex.direct:32400", 17+i))
	}
	return connections, urls
}

// recorded is a plex.tv that gives the same answer to every request.
func recorded(t *testing.T, status int, contentType, body string) *home {
	t.Helper()
	plexTV := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(plexTV.Close)
	client, err := NewClient(Options{BaseURL: plexTV.URL})
	if err != nil {
		t.Fatal(err)
	}
	return &home{client: client, token: "account-token", device: Device{ClientIdentifier: "3f1c6f0e-device", Product: "PlexLink"}}
}

const contentJSON = "application/json; charset=utf-8"

func TestRecordedPINs(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		postalCode, expiresIn, token, registration string
		life                                       time.Duration
		want                                       Sensitive
	}{
		"new":                       {`"10115"`, `900`, `null`, `null`, 900 * time.Second, ""},
		"postal code as a number":   {`10115`, `900`, `null`, `null`, 900 * time.Second, ""},
		"no postal code":            {`null`, `899`, `null`, `null`, 899 * time.Second, ""},
		"numbers as strings":        {`"10115"`, `"900"`, `null`, `null`, 900 * time.Second, ""},
		"linked":                    {`"10115"`, `10`, `"xXxX-token"`, `false`, 10 * time.Second, "xXxX-token"},
		"linked by a new account":   {`"10115"`, `9`, `"-xXxX-token"`, `true`, 9 * time.Second, "-xXxX-token"},
		"linked, everything drifts": {`[]`, `null`, `"xXxX-token"`, `{}`, defaultPINLife, "xXxX-token"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := recorded(t, http.StatusOK, contentJSON, fmt.Sprintf(recordedPIN, tc.postalCode, tc.expiresIn, tc.token, tc.registration))
			pin, err := h.client.CreatePIN(t.Context(), h.device)
			want := PIN{ID: "1234567890", Code: "ABCD", ExpiresIn: tc.life, QRURL: "https://plex.tv/api/v2/pins/qr/ABCD"}
			if err != nil || pin != want {
				t.Errorf("CreatePIN: got %+v, %v; want %+v", pin, err, want)
			}
			if token, err := h.client.CheckPIN(t.Context(), h.device, pin.ID); err != nil || token != tc.want {
				t.Errorf("CheckPIN: got %q, %v; want %q", token.Reveal(), err, tc.want.Reveal())
			}
		})
	}
}

func TestRecordedAccounts(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		username, title string
		want            Account
	}{
		"usual":                      {`"alice"`, `"Alice"`, Account{Username: "alice", UUID: "0123456789abcdef"}},
		"managed user":               {`null`, `"Kid"`, Account{Username: "Kid", UUID: "0123456789abcdef", Managed: true}},
		"managed user, empty name":   {`""`, `"Kid"`, Account{Username: "Kid", UUID: "0123456789abcdef", Managed: true}},
		"a number for a name":        {`12345`, `null`, Account{Username: "12345", UUID: "0123456789abcdef"}},
		"neither username nor title": {`null`, `null`, Account{UUID: "0123456789abcdef", Managed: true}},
	} {
		h := recorded(t, http.StatusOK, contentJSON, fmt.Sprintf(recordedUser, tc.username, tc.title))
		if got, err := h.client.Account(t.Context(), h.device, h.token); err != nil || got != tc.want {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, tc.want)
		}
	}
}

func TestRecordedServers(t *testing.T) {
	t.Parallel()
	direct := recordedConnection("https", "192-168-1-100.abc.plex.direct:32400", "192.168.1.100", "32400", "true", "false", "false")
	many, manyURLs := fifteen()
	everywhere := Preferences{Locations: []Location{Cluster, Local, Remote, Relay}, Schemes: []string{"https"}, ClusterDomain: "cluster.local"}
	for name, tc := range map[string]struct {
		httpsRequired string
		connections   []string
		want          []string
	}{
		"on a LAN":             {"false", []string{direct}, []string{"0 Local https://192-168-1-100.abc.plex.direct:32400"}},
		"15 local addresses":   {"false", many, prefixed("0 Local ", manyURLs)},
		"no address at all":    {"false", nil, nil},
		"numbers for booleans": {"1", []string{recordedConnection("https", "192-168-1-100.abc.plex.direct:32400", "192.168.1.100", `"32400"`, "1", "0", "null")}, []string{"0 Local https://192-168-1-100.abc.plex.direct:32400"}},
		"relay": {"null", []string{
			recordedConnection("https", "198-51-100-1.abc.plex.direct:8443", "198.51.100.1", "8443", "false", "true", "false"), direct,
		}, []string{"0 Local https://192-168-1-100.abc.plex.direct:32400", "1 Relay https://198-51-100-1.abc.plex.direct:8443"}},
		"IPv6": {"false", []string{
			recordedConnection("https", "fd00-0-0-0-0-0-0-100.abc.plex.direct:32400", "fd00:0:0:0:0:0:0:100", "32400", "true", "false", "true"),
			recordedConnection("https", "2001-db8-0-0-0-0-0-1.abc.plex.direct:32400", "2001:db8:0:0:0:0:0:1", "32400", "false", "false", "true"),
		}, []string{"0 Local https://fd00-0-0-0-0-0-0-100.abc.plex.direct:32400", "1 Remote https://2001-db8-0-0-0-0-0-1.abc.plex.direct:32400"}},
		"custom URL with a name": {"false", []string{
			direct, recordedConnection("https", "plex.example.com:443", "plex.example.com", "443", "false", "false", "false"),
		}, []string{"0 Local https://192-168-1-100.abc.plex.direct:32400", "1 Remote https://plex.example.com:443"}},
		"one connection of three is odd": {"false", []string{"null", `{"port":"auto"}`, direct}, []string{"0 Local https://192-168-1-100.abc.plex.direct:32400"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := fmt.Sprintf(recordedServer, tc.httpsRequired, strings.Join(tc.connections, ","))
			h := recorded(t, http.StatusOK, contentJSON, `[`+recordedPlayer+`,`+server+`,`+recordedPlayer+`]`)
			list, err := h.client.Resources(t.Context(), h.device, h.token)
			if err != nil || len(list.Servers) != 1 || list.Servers[0].AccessToken != "xXxX" || list.Servers[0].Name != "NAS" {
				t.Fatalf("got %+v, %v; want the NAS", list, err)
			}
			candidates, _ := Candidates(list.Servers[0], everywhere)
			if diff := cmp.Diff(tc.want, described(candidates)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func prefixed(prefix string, all []string) []string {
	var prefixed []string
	for _, s := range all {
		prefixed = append(prefixed, prefix+s)
	}
	return prefixed
}

// Each answer comes to every call. A poll has no token, so its errors prove nothing about one, and only a poll's say that a
// PIN is dead.
func TestRecordedErrors(t *testing.T) {
	t.Parallel()
	const page, contentXML = "text/html; charset=utf-8", "application/xml; charset=utf-8"
	same := func(c Class) [2]Class { return [2]Class{c, c} }
	for name, tc := range map[string]struct {
		status      int
		contentType string
		body        string
		want        [2]Class // of a poll, of calls with a token
	}{
		"400 no client identifier": {400, contentJSON, `{"errors":[{"code":1000,"message":"X-Plex-Client-Identifier is missing","status":400}]}`, same(ClassBadRequest)},
		"401 invalid token":        {401, contentJSON, `{"errors":[{"code":1001,"message":"User could not be authenticated","status":401}]}`, [2]Class{ClassUnavailable, ClassTokenInvalid}},
		"401 without status":       {401, contentJSON, `{"errors":[{"code":1001,"message":"User could not be authenticated"}]}`, [2]Class{ClassUnavailable, ClassTokenInvalid}},
		"401 code as a string":     {401, contentJSON, `{"errors":[{"code":"1001","message":null,"status":"401"}]}`, [2]Class{ClassUnavailable, ClassTokenInvalid}},
		"401 in XML":               {401, contentXML, `<?xml version="1.0" encoding="UTF-8"?><errors><error code="1001" message="User could not be authenticated" status="401"/></errors>`, [2]Class{ClassUnavailable, ClassTokenInvalid}},
		"401 address is blocked":   {401, contentJSON, `{"errors":[{"code":1031,"message":"Too many failed sign-ins","status":401}]}`, same(ClassThrottled)},
		"401 one text":             {401, contentJSON, `{"error":"You need to sign in or sign up before continuing."}`, [2]Class{ClassUnavailable, ClassTokenRefused}},
		"401 page":                 {401, page, `<html><head><title>Unauthorized</title></head></html>`, [2]Class{ClassUnavailable, ClassTokenRefused}},
		"403 Plex Home PIN":        {403, contentJSON, `{"errors":[{"code":1041,"message":"PIN required","status":403}]}`, [2]Class{ClassBadRequest, ClassTokenRefused}},
		"403 page of a firewall":   {403, page, `<html><title>Attention Required!</title></html>`, [2]Class{ClassUnavailable, ClassTokenRefused}},
		"404 PIN is dead":          {404, contentJSON, `{"errors":[{"code":1020,"message":"Code not found or expired","status":404}]}`, [2]Class{ClassPINGone, ClassBadRequest}},
		"404 PIN is dead, in XML":  {404, contentXML, `<errors><error code="1020" message="Code not found or expired" status="404"/></errors>`, [2]Class{ClassPINGone, ClassBadRequest}},
		"404 no such resource":     {404, contentJSON, `{"errors":[{"code":1002,"message":"Not found","status":404}]}`, [2]Class{ClassUnavailable, ClassBadRequest}},
		"404 of the outage":        {404, "", ``, same(ClassUnavailable)},
		"404 page":                 {404, page, `<!DOCTYPE html><html><body><h1>Not Found</h1></body></html>`, same(ClassUnavailable)},
		"405 method":               {405, contentJSON, `{"errors":[{"code":1005,"message":"Method not allowed","status":405}]}`, same(ClassBadRequest)},
		"410 removed route":        {410, contentJSON, `{"error":"Gone"}`, same(ClassBadRequest)},
		"422 invalid token":        {422, contentJSON, `{"error":"Invalid token"}`, [2]Class{ClassBadRequest, ClassTokenInvalid}},
		"422 invalid token, XML":   {422, contentXML, `<errors><error>Invalid token</error></errors>`, [2]Class{ClassBadRequest, ClassTokenInvalid}},
		"422 code has expired":     {422, contentJSON, `{"errors":[{"code":1069,"message":"Code expired","status":422}]}`, same(ClassBadRequest)},
		"422 JWK":                  {422, contentJSON, `{"errors":[{"code":1097,"message":"JWK is missing","status":422}]}`, same(ClassBadRequest)},
		"429":                      {429, contentJSON, `{"errors":[{"code":1003,"message":"API rate limit exceeded","status":429}]}`, same(ClassThrottled)},
		"429 text":                 {429, "text/plain", `API rate limit exceeded`, same(ClassThrottled)},
		"429 empty":                {429, "", ``, same(ClassThrottled)},
		"498 expired JWT":          {498, contentJSON, `{"errors":[{"code":1062,"message":"Token expired","status":498}]}`, [2]Class{ClassUnavailable, ClassTokenRefused}},
		"500 JSON":                 {500, contentJSON, `{"errors":[{"code":1001,"message":"User could not be authenticated","status":401}]}`, same(ClassUnavailable)},
		"502 page":                 {502, page, `<html><head><title>502 Bad Gateway</title></head></html>`, same(ClassUnavailable)},
		"503 empty":                {503, "", ``, same(ClassUnavailable)},
		"504 page":                 {504, page, `<html><h1>504 Gateway Time-out</h1></html>`, same(ClassUnavailable)},
		"520 page of an edge":      {520, page, `<html>Web server is returning an unknown error</html>`, same(ClassUnavailable)},
		"200 page":                 {200, page, `<html>Welcome to the hotel. Sign in to use the internet.</html>`, same(ClassUnavailable)},
		"200 XML":                  {200, contentXML, `<?xml version="1.0" encoding="UTF-8"?><pin id="1" code="ABCD" authToken="xXxX"/>`, same(ClassUnavailable)},
		"200 null":                 {200, contentJSON, `null`, same(ClassUnavailable)},
		"200 empty":                {200, contentJSON, ``, same(ClassUnavailable)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := recorded(t, tc.status, tc.contentType, tc.body)
			for call, c := range calls {
				empty := tc.status == 200 && tc.body == ""
				if call == "pins.create" || empty && (call == "signout" || call == "pins.link") {
					continue // creating is no poll, and an empty answer is what these two have
				}
				want := tc.want[1]
				switch {
				case call == "pins.check":
					want = tc.want[0]
				case call == "pins.link" && (want == ClassBadRequest || tc.status == 403 || tc.status == 404 && tc.body != ""):
					want = ClassClaimRefused // a person has to enter the PIN
				}
				if err := c.do(t.Context(), h, "1234567890"); Classify(err) != want {
					t.Errorf("%s: got %s, %v; want %s", call, Classify(err), err, want)
				}
			}
		})
	}
}

// Situations that the simulator can produce, other than answers.
func TestOddSituations(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	m := h.sim.AddServer(plextest.Server{Name: "Home", Owner: h.owner})
	h.lan.Hosts[m.DirectName("127.0.0.1")] = "127.0.0.1"
	h.link(t, h.owner)
	h.sim.AddGhostDevices(h.owner, 2000)
	h.sim.Fault(plextest.Fault{Endpoint: plextest.Resources, OddRecords: true})
	list, err := h.client.Resources(t.Context(), h.device, h.token)
	home := -1
	for i, s := range list.Servers {
		if s.MachineIdentifier == m.MachineIdentifier {
			home = i
		}
	}
	if err != nil || home < 0 || len(list.Servers) != 5 || list.Skipped != 8 {
		t.Fatalf("got %d servers, %d skipped, %v; want Home and four odd ones that can be read, 8 skipped or in part", len(list.Servers), list.Skipped, err)
	}
	server := list.Servers[home]
	prove := func(ctx context.Context) Proof {
		h.prober.Transport.(*http.Transport).CloseIdleConnections()
		return h.prober.Prove(ctx, h.device, server, []Candidate{{URL: server.Connections[0].URI}})
	}
	for name, tc := range map[string]struct {
		fault func(*plextest.Server)
		works bool
	}{
		"healthy":              {func(*plextest.Server) {}, true},
		"incomplete chain":     {func(s *plextest.Server) { s.IncompleteChain = true }, false},
		"sleeping disks":       {func(s *plextest.Server) { s.SpinUp = testTimeout + testTimeout/2 }, true},
		"allowed without auth": {func(s *plextest.Server) { s.AllowedWithoutAuth = true }, true},
	} {
		m.Update(func(s *plextest.Server) { s.IncompleteChain, s.SpinUp, s.AllowedWithoutAuth = false, 0, false })
		m.Update(tc.fault)
		proof := prove(t.Context())
		if works := proof.Outcomes[0].Err == nil; works != tc.works {
			t.Errorf("%s: got %v, want it to work: %t", name, proof.Outcomes[0].Err, tc.works)
		}
		if open := name == "allowed without auth"; proof.Open != open {
			t.Errorf("%s: got open %t, want %t", name, proof.Open, open)
		}
	}

	m.Update(func(s *plextest.Server) {
		s.IncompleteChain, s.SpinUp, s.AllowedWithoutAuth, s.CachesTokens = false, 0, false, true
	})
	prove(t.Context())
	h.sim.RevokeTokens(h.owner)
	if proof := prove(t.Context()); proof.Outcomes[0].Err != nil {
		t.Errorf("a revoked token that the server has cached: got %v, want it accepted", proof.Outcomes[0].Err)
	}
	m.Stop()
	m.Start()
	if proof := prove(t.Context()); !errors.Is(proof.Outcomes[0].Err, errRefused) {
		t.Errorf("after the server restarted: got %v, want %v", proof.Outcomes[0].Err, errRefused)
	}
}

package plextest_test

import (
	"encoding/xml"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"plexlink.dev/operator/internal/plex/plextest"
)

// element is any XML element.
type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Children []element  `xml:",any"`
	Text     string     `xml:",chardata"`
}

func (e element) attr(name string) (string, bool) {
	for _, a := range e.Attrs {
		if a.Name.Local == name {
			return a.Value, true
		}
	}
	return "", false
}

func (e element) child(t *testing.T, name string) element {
	t.Helper()
	for _, c := range e.Children {
		if c.XMLName.Local == name {
			return c
		}
	}
	t.Fatalf("<%s> has no <%s>", e.XMLName.Local, name)
	return element{}
}

func (e element) wantAttrs(t *testing.T, names string) {
	t.Helper()
	for name := range strings.FieldsSeq(names) {
		if _, ok := e.attr(name); !ok {
			t.Errorf("<%s> has no %s", e.XMLName.Local, name)
		}
	}
}

// wantInts are attributes that python-plexapi puts through int() without a fallback, or dates that it parses.
func (e element) wantInts(t *testing.T, names string) {
	t.Helper()
	for name := range strings.FieldsSeq(names) {
		if v, _ := e.attr(name); v == "" || strings.Trim(v, "0123456789") != "" {
			t.Errorf("<%s %s=%q> is not a number", e.XMLName.Local, name, v)
		}
	}
}

// wantBools are attributes that python-plexapi casts to bool. It takes 0, 1, true and false, lets absent ones pass, and
// raises ValueError for anything else.
func (e element) wantBools(t *testing.T, names string) {
	t.Helper()
	for name := range strings.FieldsSeq(names) {
		if v, ok := e.attr(name); ok && !slices.Contains([]string{"0", "1", "true", "false"}, v) {
			t.Errorf("<%s %s=%q> is not a bool", e.XMLName.Local, name, v)
		}
	}
}

func (d device) element(t *testing.T, status int, method, target, root string) element {
	t.Helper()
	got, raw := d.do(t, method, target)
	var e element
	if err := xml.Unmarshal([]byte(raw), &e); err != nil || got != status || e.XMLName.Local != root {
		t.Fatalf("%s: %d %v, want %d and <%s>: %s", method, got, err, status, root, raw)
	}
	return e
}

// The requests are those of MyPlexPinLogin, MyPlexAccount, MyPlexAccount.resources and PlexServer in python-plexapi,
// which sends no Accept header and reads XML; the attributes are those it reads.
func TestXMLHasWhatPythonPlexapiReads(t *testing.T) {
	t.Parallel()
	sim, alice, _ := start(t)
	bob := sim.AddAccount("bob")
	sim.AddServer(plextest.Server{Name: "My Plex Server", Owner: alice})
	sim.AddServer(plextest.Server{Name: "Bob's", Owner: bob, SharedWith: []*plextest.Account{alice}})
	sim.AddDevice(alice, "phone", "client,player")
	d := device{clientIdentifier: "python", xml: true}

	pin := d.element(t, http.StatusCreated, "POST", sim.URL+"/api/v2/pins", "pin")
	id, _ := pin.attr("id")
	code, _ := pin.attr("code")
	poll := func() string {
		token, ok := d.element(t, http.StatusOK, "GET", sim.URL+"/api/v2/pins/"+id, "pin").attr("authToken")
		if !ok {
			t.Error("<pin> has no authToken")
		}
		return token
	}
	if poll() != "" {
		t.Error("a pending PIN has a token")
	}
	if err := sim.Link(code, alice); err != nil {
		t.Fatal(err)
	}
	d.token = poll()

	user := d.element(t, http.StatusOK, "GET", sim.URL+"/api/v2/user", "user")
	user.wantAttrs(t, `adsConsent adsConsentReminderAt adsConsentSetAt anonymous authToken backupCodesCreated confirmed
		country email emailOnlyAuth experimentalFeatures friendlyName guest hasPassword home homeAdmin homeSize id joinedAt
		locale mailingListActive mailingListStatus maxHomeSize pin protected rememberExpiresAt restricted scrobbleTypes thumb
		title twoFactorEnabled username uuid subscriptionDescription`)
	user.wantInts(t, "id homeSize maxHomeSize joinedAt")
	user.wantBools(t, `backupCodesCreated confirmed emailOnlyAuth experimentalFeatures guest hasPassword home homeAdmin
		mailingListActive protected restricted twoFactorEnabled`)
	user.child(t, "subscription").wantBools(t, "active")
	user.child(t, "profile").wantBools(t, "autoSelectAudio")
	user.child(t, "subscription").wantAttrs(t, "active paymentService plan status subscribedAt")
	user.child(t, "subscription").child(t, "features")
	user.child(t, "profile").wantAttrs(t, `autoSelectAudio defaultAudioLanguage defaultSubtitleLanguage autoSelectSubtitle
		defaultSubtitleAccessibility defaultSubtitleForced`)
	user.child(t, "entitlements")
	user.child(t, "roles")

	if pong := d.element(t, http.StatusOK, "GET", sim.URL+"/api/v2/ping", "pong"); pong.Text != "true" {
		t.Errorf("pong is %q", pong.Text)
	}

	resources := d.element(t, http.StatusOK, "GET", sim.URL+"/api/v2/resources?includeHttps=1&includeRelay=1", "resources")
	var served []string
	for _, r := range resources.Children {
		r.wantAttrs(t, `accessToken clientIdentifier createdAt device home httpsRequired lastSeenAt name owned ownerId platform
			platformVersion presence product productVersion provides publicAddressMatches relay sourceTitle synced`)
		r.wantBools(t, `dnsRebindingProtection home httpsRequired natLoopbackSupported owned presence publicAddressMatches
			relay synced`)
		for _, c := range r.child(t, "connections").Children {
			c.wantAttrs(t, "address IPv6 local port protocol relay uri")
			c.wantInts(t, "port")
			c.wantBools(t, "IPv6 local relay")
			// Like python-plexapi's httpuri: it tries this next to the uri.
			address, _ := c.attr("address")
			port, _ := c.attr("port")
			access, _ := r.attr("accessToken")
			server := device{clientIdentifier: "python", token: access, xml: true}.
				element(t, http.StatusOK, "GET", "http://"+address+":"+port+"/", "MediaContainer")
			server.wantAttrs(t, `allowCameraUpload allowChannelAccess allowMediaDeletion allowSharing allowSync
				backgroundProcessing certificate companionProxy diagnostics eventStream friendlyName hubSearch
				machineIdentifier multiuser myPlex myPlexMappingState myPlexSigninState myPlexSubscription myPlexUsername
				ownerFeatures photoAutoTag platform platformVersion pluginHost readOnlyLibraries
				requestParametersInCookie streamingBrainVersion sync transcoderAudio transcoderLyrics transcoderPhoto
				transcoderSubtitles transcoderVideo transcoderVideoBitrates transcoderVideoQualities
				transcoderVideoResolutions updater version voiceSearch`)
			server.wantInts(t, "transcoderActiveVideoSessions updatedAt readOnlyLibraries")
			name, _ := server.attr("friendlyName")
			sections := device{clientIdentifier: "python", token: access, xml: true}.
				element(t, http.StatusOK, "GET", "http://"+address+":"+port+"/library/sections/", "MediaContainer")
			served = append(served, name+" "+strconv.Itoa(len(sections.Children)))
		}
	}
	if got := strings.Join(served, ", "); got != "My Plex Server 2, Bob's 2" {
		t.Errorf("signed in to %q", got)
	}

	var names []string
	for _, entry := range d.element(t, http.StatusOK, "GET", sim.URL+"/devices.xml", "MediaContainer").Children {
		entry.wantAttrs(t, `clientIdentifier createdAt id lastSeenAt model name product provides publicAddress screenDensity
			screenResolution token vendor version`)
		entry.wantInts(t, "createdAt id lastSeenAt")
		name, _ := entry.attr("name")
		names = append(names, name)
	}
	if got := strings.Join(names, ", "); got != "My Plex Server, phone, " {
		t.Errorf("got the devices %q, want the server, the phone and the nameless app", got)
	}

	d.do(t, "DELETE", sim.URL+"/api/v2/users/signout")
	d.element(t, http.StatusUnauthorized, "GET", sim.URL+"/api/v2/user", "errors")
}

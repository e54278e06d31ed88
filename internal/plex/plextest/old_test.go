package plextest_test

import (
	"net/http"
	"testing"

	"plexlink.dev/operator/internal/plex/plextest"
)

func TestOldEndpoints(t *testing.T) {
	t.Parallel()
	sim, alice, _ := start(t)
	sim.AddServer(plextest.Server{Name: "server", Owner: alice})
	sim.AddDevice(alice, "phone", "player")
	d := device{clientIdentifier: "one", token: sim.SignIn(alice, "one")} // It asks for JSON, and gets XML.
	user := d.element(t, http.StatusOK, "GET", sim.URL+"/users/account.xml", "user")
	if token, _ := user.attr("authenticationToken"); token != d.token {
		t.Error("got another token, want the one that was sent")
	}
	resources := d.element(t, http.StatusOK, "GET", sim.URL+"/api/resources?includeHttps=1", "MediaContainer")
	if len(resources.Children) != 2 {
		t.Fatalf("got %+v, want the server and the phone", resources)
	}
	resources.Children[0].child(t, "Connection").wantAttrs(t, "protocol address port uri local")
	for _, r := range resources.Children {
		r.wantInts(t, "createdAt lastSeenAt httpsRequired relay owned")
	}

	devices := d.element(t, http.StatusOK, "GET", sim.URL+"/devices.xml", "MediaContainer").Children
	if len(devices) != 3 {
		t.Fatalf("got %d devices, want the server, the phone and the app", len(devices))
	}
	app, _ := devices[2].attr("id")
	if got, _ := d.do(t, "DELETE", sim.URL+"/devices/"+app+".xml"); got != http.StatusNoContent {
		t.Errorf("got %d, want 204 and the token revoked", got)
	}
	for path, want := range map[string]int{
		"/users/account": 422, "/api/resources": 401, "/devices.xml": 401, "/api/v2/user": 401,
	} {
		d.xml = true
		d.element(t, want, "GET", sim.URL+path, "errors")
	}
	other := device{clientIdentifier: "two", token: sim.SignIn(alice, "two"), xml: true}
	other.element(t, http.StatusNotFound, "DELETE", sim.URL+"/devices/999.xml", "errors")
	phone, _ := devices[1].attr("id")
	other.do(t, "DELETE", sim.URL+"/devices/"+phone+".xml")
	if got := len(other.element(t, http.StatusOK, "GET", sim.URL+"/devices.xml", "MediaContainer").Children); got != 2 {
		t.Errorf("got %d devices, want the server and the app", got)
	}
}

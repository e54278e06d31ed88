package stories

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// neighborhood maps the server's addresses: to the server itself, to another machine, or nowhere.
type neighborhood struct {
	w        *world
	stranger *plextest.MediaServer
}

func (n neighborhood) server(address string)  { n.w.network.Listeners[address] = n.w.server.Addr }
func (n neighborhood) foreign(address string) { n.w.network.Listeners[address] = n.stranger.Addr }

// TestAddressIsChosen prints for each list of connections which one was chosen, and how long that took after the PIN was
// entered.
func TestAddressIsChosen(t *testing.T) {
	t.Parallel()
	local, public := plextest.LocalConnection, func(uri string) plextest.Connection {
		c := plextest.LocalConnection(uri)
		c.Local = false
		return c
	}
	relay := func(uri string) plextest.Connection {
		c := public(uri)
		c.Relay = true
		return c
	}
	locations := func(l ...v1alpha1.Location) v1alpha1.ServerSpec { return v1alpha1.ServerSpec{Locations: l} }
	withHTTP := func(spec v1alpha1.ServerSpec) v1alpha1.ServerSpec {
		spec.Schemes = []v1alpha1.Scheme{"HTTPS", "HTTP"}
		return spec
	}
	dead := func(n int) (list []plextest.Connection) {
		for i := range n {
			list = append(list, local(fmt.Sprintf("https://172-17-0-%d.dead.plex.direct:32400", i+1)))
		}
		return list
	}
	for name, c := range map[string]struct {
		build   func(neighborhood) []plextest.Connection
		spec    v1alpha1.ServerSpec
		reason  string // empty: Linked
		want    string // the URL, or what the message contains
		timeOut int    // how many timeouts of unresponsive addresses it takes
	}{
		"15 dead and one live": {build: func(n neighborhood) []plextest.Connection {
			n.server("192.168.1.100:32400")
			return append(dead(15), local("http://192.168.1.100:32400"))
		}, want: "http://192.168.1.100:32400", timeOut: 1},
		"16 dead at 32 addresses": {build: func(n neighborhood) []plextest.Connection {
			n.foreign("172.17.0.16:32400")
			return dead(16)
		}, reason: v1alpha1.ReasonServerUnreachable, timeOut: 1,
			want: "Could not verify My Plex Server at any of its 32 addresses: http://172.17.0.16:32400 is another server; https://172-17-0-1.dead.plex.direct:32400 unreachable; "},
		// Fault C3: the list was truncated to 32.
		"40 dead before the live one": {build: func(n neighborhood) []plextest.Connection {
			n.server("192.168.1.100:32400")
			var list []plextest.Connection
			for i := range 40 {
				list = append(list, local(fmt.Sprintf("http://10.96.0.%d:32400", i+1)))
			}
			return append(list, local("http://192.168.1.100:32400"))
		}, want: "http://192.168.1.100:32400", timeOut: 2},
		// Fault C6: the message said "the only address" when there was another.
		"a bridge and an excluded remote address": {build: func(n neighborhood) []plextest.Connection {
			return []plextest.Connection{local("http://172.17.0.2:32400"), public("https://203.0.113.7:32400")}
		}, reason: v1alpha1.ReasonServerUnreachable, timeOut: 1,
			want: "at its only address: http://172.17.0.2:32400 unreachable; spec.server.locations (Cluster, Local) leaves out 1 more"},
		// Fault C7: the message said only "unreachable".
		"http to a server that requires https": {build: func(n neighborhood) []plextest.Connection {
			n.w.server.Update(func(s *plextest.Server) { s.HTTPSRequired = true })
			n.w.network.Hosts["plex.lan"] = "192.168.1.100"
			return []plextest.Connection{local("https://192-168-1-100.0123.plex.direct:32400")}
		}, spec: v1alpha1.ServerSpec{URL: "http://plex.lan:32400"}, reason: v1alpha1.ReasonServerUnreachable, timeOut: 1,
			want: "http://plex.lan:32400 unreachable; it requires secure connections: set an https URL"},
		"a private IP address not marked as local by plex.tv": {build: func(n neighborhood) []plextest.Connection {
			n.server("192.168.1.100:32400")
			return []plextest.Connection{public("http://192.168.1.100:32400")}
		}, want: "http://192.168.1.100:32400"},
		"a foreign machine at a local address": {build: func(n neighborhood) []plextest.Connection {
			n.foreign("10.42.0.1:32400")
			n.server("192.168.1.100:32400")
			return []plextest.Connection{local("http://10.42.0.1:32400"), local("http://192.168.1.100:32400")}
		}, want: "http://192.168.1.100:32400"},
		"only a foreign machine": {build: func(n neighborhood) []plextest.Connection {
			n.foreign("10.42.0.1:32400")
			return []plextest.Connection{local("http://10.42.0.1:32400")}
		}, reason: v1alpha1.ReasonServerUnreachable, want: "Could not verify My Plex Server at its only address: http://10.42.0.1:32400 is another server"},
		"IPv6 only": {build: func(n neighborhood) []plextest.Connection {
			n.server("[fd00::7]:32400")
			return []plextest.Connection{local("http://[fd00::7]:32400")}
		}, want: "http://[fd00::7]:32400"},
		"plex.direct over IPv6": {build: func(n neighborhood) []plextest.Connection {
			name := n.w.server.DirectName("fd00::7")
			n.server("[fd00::7]:32400")
			n.w.network.Hosts[name] = "fd00::7"
			return []plextest.Connection{local("https://" + name + ":32400")}
		}, want: "https://fd00--7."},
		"relay only, not allowed": {build: func(n neighborhood) []plextest.Connection {
			n.server("203.0.113.9:8443")
			return []plextest.Connection{relay("http://203.0.113.9:8443")}
		}, reason: v1alpha1.ReasonServerUnreachable, want: "No advertised address of My Plex Server matches spec.server.locations (Cluster, Local) and schemes; change them, or set spec.server.url; spec.server.locations (Cluster, Local) leaves out 1 more"},
		"relay only, allowed": {build: func(n neighborhood) []plextest.Connection {
			n.server("203.0.113.9:8443")
			return []plextest.Connection{relay("http://203.0.113.9:8443")}
		}, spec: withHTTP(locations("Local", "Remote", "Relay")), want: "http://203.0.113.9:8443"},
		"http over the internet only when requested": {build: func(n neighborhood) []plextest.Connection {
			n.server("203.0.113.7:32400")
			return []plextest.Connection{public("http://203.0.113.7:32400")}
		}, spec: locations("Local", "Remote"), reason: v1alpha1.ReasonServerUnreachable,
			want: "spec.server.schemes (HTTPS, and HTTP only in private networks) leaves out 1 more"},
		"remote first": {build: func(n neighborhood) []plextest.Connection {
			n.server("203.0.113.7:32400")
			n.server("192.168.1.100:32400")
			return []plextest.Connection{local("http://192.168.1.100:32400"), public("http://203.0.113.7:32400")}
		}, spec: withHTTP(locations("Remote", "Local")), want: "http://203.0.113.7:32400"},
		"http first": {build: func(n neighborhood) []plextest.Connection {
			name := n.w.server.DirectName("192.168.1.100")
			n.server("192.168.1.100:32400")
			n.w.network.Hosts[name] = "192.168.1.100"
			return []plextest.Connection{local("https://" + name + ":32400")}
		}, spec: v1alpha1.ServerSpec{Schemes: []v1alpha1.Scheme{"HTTP", "HTTPS"}}, want: "http://192.168.1.100:32400"},
		"https when it works": {build: func(n neighborhood) []plextest.Connection {
			name := n.w.server.DirectName("192.168.1.100")
			n.server("192.168.1.100:32400")
			n.w.network.Hosts[name] = "192.168.1.100"
			return []plextest.Connection{local("https://" + name + ":32400")}
		}, want: "https://192-168-1-100."},
		"https required and plex.direct does not resolve": {build: func(n neighborhood) []plextest.Connection {
			n.server("192.168.1.100:32400")
			n.w.server.Update(func(s *plextest.Server) { s.HTTPSRequired = true })
			return []plextest.Connection{local("https://192-168-1-100.0123.plex.direct:32400")}
		}, reason: v1alpha1.ReasonServerUnreachable, want: "Could not verify My Plex Server at its only address: https://192-168-1-100.0123.plex.direct:32400 unreachable"},
		"plex.direct does not resolve": {build: func(n neighborhood) []plextest.Connection {
			n.server("192.168.1.100:32400")
			return []plextest.Connection{local("https://192-168-1-100.0123.plex.direct:32400")}
		}, want: "http://192.168.1.100:32400"},
		"a custom URL without a port": {build: func(n neighborhood) []plextest.Connection {
			n.server("192.168.1.50:32400")
			n.w.network.Hosts["plex.example.com"] = "192.168.1.50"
			return []plextest.Connection{{Protocol: "http", Address: "plex.example.com", Port: 32400, URI: "http://plex.example.com", Local: true}}
		}, want: "http://plex.example.com:32400"},
		"the token is refused": {build: func(n neighborhood) []plextest.Connection {
			n.server("192.168.1.100:32400")
			n.w.sim.Fault(plextest.Fault{Endpoint: plextest.Sections, Status: http.StatusUnauthorized, Times: -1})
			return []plextest.Connection{local("http://192.168.1.100:32400"), local("http://172.17.0.1:32400")}
		}, reason: v1alpha1.ReasonTokenRejected, timeOut: 1,
			want: "My Plex Server does not accept the token: http://192.168.1.100:32400 refused the token; http://172.17.0.1:32400 unreachable"},
		"no address at all": {build: func(neighborhood) []plextest.Connection { return nil },
			reason: v1alpha1.ReasonServerUnreachable, want: "No advertised address of My Plex Server matches"},
		"unverified": {build: func(neighborhood) []plextest.Connection { return dead(3) },
			spec: v1alpha1.ServerSpec{Verification: v1alpha1.VerificationSkip}, want: "https://172-17-0-1.dead.plex.direct:32400"},
		"a Service of the cluster": {build: func(n neighborhood) []plextest.Connection {
			n.server("10.96.0.7:32400")
			n.w.network.Hosts["plex.media.svc"] = "10.96.0.7"
			return dead(1)
		}, spec: v1alpha1.ServerSpec{URL: "http://plex.media.svc:32400/"}, want: "http://plex.media.svc:32400"},
		"a Service of another server": {build: func(n neighborhood) []plextest.Connection {
			n.foreign("10.96.0.7:32400")
			n.w.network.Hosts["plex.media.svc"] = "10.96.0.7"
			return dead(1)
		}, spec: v1alpha1.ServerSpec{URL: "http://plex.media.svc:32400"}, reason: v1alpha1.ReasonServerUnreachable,
			want: "Could not verify My Plex Server at spec.server.url: http://plex.media.svc:32400 is another server"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.network.Listeners, w.network.Hosts = map[string]string{}, map[string]string{}
			n := neighborhood{w, w.sim.AddServer(plextest.Server{Name: "Stranger"})}
			w.server.SetConnections(c.build(n)...)
			w.startOperator()
			w.create("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Server = c.spec })
			w.enterPIN("kometa")
			start := time.Now()
			if c.reason == "" {
				c.reason = v1alpha1.ReasonLinked
			}
			link := w.reaches("kometa", c.reason)
			took := time.Since(start)
			t.Logf("%5s  %s", took.Round(10*time.Millisecond), message(link))
			limit := 5 * time.Second // Generous for a busy machine; includes one poll of the PIN.
			limit += time.Duration(c.timeOut) * 3 * time.Second
			if took > limit {
				t.Errorf("got an address after %s, want at most %s", took, limit)
			}
			if c.reason == v1alpha1.ReasonLinked {
				got := string(w.secret("kometa").Data["PLEX_URL"])
				if got != c.want && (!strings.HasSuffix(c.want, ".") || !strings.HasPrefix(got, c.want)) {
					t.Errorf("got PLEX_URL %q, want %q", got, c.want)
				}
			} else if !strings.Contains(message(link), c.want) {
				t.Errorf("got the message %q, want %q", message(link), c.want)
			}
			if len(message(link)) > 600 {
				t.Errorf("got a message of %d characters, want at most 600", len(message(link)))
			}
			resolved := meta.FindStatusCondition(link.Status.Conditions, v1alpha1.ConditionServerResolved)
			if skip := c.spec.Verification == v1alpha1.VerificationSkip; skip != strings.Contains(resolved.Message, "unverified") ||
				skip != strings.Contains(message(link), "unverified") {
				t.Errorf("got the conditions %+v, want unverified: %t", link.Status.Conditions, skip)
			}
			for _, r := range w.sim.Requests() {
				if r.Server == "Stranger" && (r.Token != "" || r.ClientIdentifier != "") {
					t.Errorf("a secret was sent to the stranger at %s", r.Endpoint)
				}
				if r.Server == w.server.Name && r.Endpoint == plextest.Identity && (r.Token != "" || r.ClientIdentifier != "") {
					t.Error("a token was sent before the address was verified")
				}
			}
		})
	}
}

func TestReverseProxyWithAPathAndAPrivateCertificateAuthority(t *testing.T) {
	t.Parallel()
	for _, kind := range []v1alpha1.CAProviderType{v1alpha1.CAProviderSecret, v1alpha1.CAProviderConfigMap} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			proxied := w.sim.AddServer(plextest.Server{Name: "Proxied", Owner: w.alice, PathPrefix: "/plex"})
			w.startOperator(func(o *operator) { o.publicRootsOnly = true })
			w.create("kometa", func(l *v1alpha1.PlexLink) {
				l.Spec.Server = v1alpha1.ServerSpec{Name: "Proxied", URL: proxied.HTTPSURL}
			})
			w.enterPIN("kometa")
			link := w.reaches("kometa", v1alpha1.ReasonServerUnreachable)
			if want := "Could not verify Proxied at spec.server.url: " + proxied.HTTPSURL + " unreachable"; message(link) != want {
				t.Errorf("without the certificate: got the message %q, want %q", message(link), want)
			}
			w.change("kometa", func(l *v1alpha1.PlexLink) {
				l.Spec.Server.CAProvider = &v1alpha1.CAProvider{Type: kind, Name: "home-ca"}
			})
			w.says("kometa", fmt.Sprintf("%s home-ca of spec.server.caProvider does not exist; create it with the key ca.crt", kind))

			about := metav1.ObjectMeta{Name: "home-ca", Namespace: w.namespace}
			objects := map[v1alpha1.CAProviderType]func([]byte) client.Object{
				v1alpha1.CAProviderSecret: func(b []byte) client.Object {
					return &corev1.Secret{ObjectMeta: about, Data: map[string][]byte{"ca.crt": []byte("nonsense"), "root.pem": b}}
				},
				v1alpha1.CAProviderConfigMap: func(b []byte) client.Object {
					return &corev1.ConfigMap{ObjectMeta: about, Data: map[string]string{"ca.crt": "nonsense", "root.pem": string(b)}}
				},
			}
			if err := admin.Create(t.Context(), objects[kind](bytes.Join([][]byte{[]byte("# home\n"), w.sim.CertPEM()}, nil))); err != nil {
				t.Fatal(err)
			}
			w.advance(time.Minute)
			w.says("kometa", fmt.Sprintf("%s home-ca of spec.server.caProvider has no certificate in PEM form under the key ca.crt; put it there", kind))
			w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Server.CAProvider.Key = "root.pem" })
			w.reaches("kometa", v1alpha1.ReasonLinked)
			if got := string(w.secret("kometa").Data["PLEX_URL"]); got != proxied.HTTPSURL || !strings.HasSuffix(got, "/plex") {
				t.Errorf("got PLEX_URL %q, want %q", got, proxied.HTTPSURL)
			}
		})
	}
}

func TestURLIsStickyUntilItNoLongerVerifies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	better := w.sim.AddServer(plextest.Server{Name: "Better way", MachineIdentifier: "another"})
	w.network.Listeners = map[string]string{"192.168.1.100:32400": w.server.Addr, "192.168.1.50:32400": better.Addr}
	w.server.SetConnections(plextest.LocalConnection("http://192.168.1.50:32400"), plextest.LocalConnection("http://192.168.1.100:32400"))
	w.startOperator()
	w.linked("kometa")
	url := func() string { return string(w.secret("kometa").Data["PLEX_URL"]) }
	if url() != "http://192.168.1.100:32400" {
		t.Fatalf("got PLEX_URL %q", url())
	}
	// The better-ranked address comes up, and the one in use leaves the list.
	better.Update(func(s *plextest.Server) { s.ClaimedMachineIdentifier, s.Owner = w.server.MachineIdentifier, w.alice })
	w.server.SetConnections(plextest.LocalConnection("http://192.168.1.50:32400"))
	asked := w.sim.Count(plextest.Resources)
	w.advance(2 * time.Hour)
	w.eventually("a refresh", func() error {
		if w.sim.Count(plextest.Resources) == asked {
			return fmt.Errorf("plex.tv was not asked")
		}
		return nil
	})
	if w.reaches("kometa", v1alpha1.ReasonLinked); url() != "http://192.168.1.100:32400" {
		t.Errorf("PLEX_URL changed to %q while the old address works", url())
	}
	w.server.Stop()
	w.advance(2 * time.Hour)
	w.eventually("the move to the address that works", func() error {
		if url() != "http://192.168.1.50:32400" {
			return fmt.Errorf("got PLEX_URL %q", url())
		}
		return nil
	})
	w.reaches("kometa", v1alpha1.ReasonLinked)
}

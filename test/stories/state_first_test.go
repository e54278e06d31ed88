package stories

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// isWrite returns a predicate for requests with a method and the end of a path.
func isWrite(method, suffix string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == method && strings.HasSuffix(r.URL.Path, suffix) }
}

// Fault A1: a new address survives a kill or a lost answer at each of the writes to device Secret, Secret and status.
func TestNewAddressSurvivesAKillOrALostAnswerAtAnyWrite(t *testing.T) {
	t.Parallel()
	var stories sync.WaitGroup
	for at, strikes := range map[string]func(*http.Request) bool{
		"device Secret": isWrite(http.MethodPatch, "/secrets/kometa-plexlink-device"),
		"Secret":        isWrite(http.MethodPatch, "/secrets/kometa"),
		"status":        isWrite(http.MethodPatch, "/plexlinks/kometa/status"),
	} {
		for _, how := range []string{"killed before", "failure of", "lost answer to"} {
			stories.Go(func() {
				t.Run(how+" the write to the "+at, func(t *testing.T) { testMovedServer(t, how, at, strikes) })
			})
		}
	}
	stories.Wait()
}

// testMovedServer moves the server, and makes the first write that strikes selects fail. From then on plex.tv does not list
// the new address again.
func testMovedServer(t *testing.T, how, at string, strikes func(*http.Request) bool) {
	w := newWorld(t)
	former := newWire(w, w.server.Addr)
	w.network.Listeners = map[string]string{"192.168.1.100:32400": former.Addr().String(), "192.168.1.200:32400": w.server.Addr}
	w.server.SetConnections(plextest.LocalConnection("http://192.168.1.100:32400"))
	var armed, struck atomic.Bool
	once := func(r *http.Request) bool {
		if !armed.Load() || !strikes(r) || !struck.CompareAndSwap(false, true) {
			return false
		}
		w.sim.Fault(plextest.Fault{Endpoint: plextest.Resources, Status: http.StatusServiceUnavailable, Times: -1})
		return true
	}
	first := w.startOperator(strikingAt(how, once))
	w.linked("kometa")
	w.settled("kometa")
	secrets := w.recordSecrets()
	former.cut()
	w.server.SetConnections(plextest.LocalConnection("http://192.168.1.200:32400"))
	armed.Store(true)
	w.advance(70 * time.Minute)
	if how == "killed before" {
		<-first.died
		first.kill()
		asked := w.sim.Count(plextest.Resources)
		w.startOperator()
		if at == "device Secret" { // The address was lost with the operator, before it was stored anywhere.
			w.eventually("a request for the resources", func() error {
				if w.sim.Count(plextest.Resources) == asked {
					return errNotYet
				}
				return nil
			})
			w.eventually("the status", func() error {
				if got := message(w.link("kometa")); !strings.Contains(got, "last check failed") {
					return errors.New(got)
				}
				return nil
			})
			w.sim.ClearFaults()
		}
	}
	// The operator's clock stands still: nothing waits for another refresh.
	w.eventually("the new address in Secret and status", func() error {
		link := w.link("kometa")
		got := string(w.secret("kometa").Data["PLEX_URL"])
		if !struck.Load() || got != "http://192.168.1.200:32400" || link.Status.Server.URL != got || !strings.HasSuffix(message(link), got) {
			return fmt.Errorf("got struck %t, URL %s, status %s, message %q", struck.Load(), got, link.Status.Server.URL, message(link))
		}
		return nil
	})
	w.sim.ClearFaults()
	w.linked("neighbour") // Gives the operator time to restore the former address.
	w.poke()
	w.advance(30 * time.Minute)
	w.settled("kometa")
	got := urlsOf(secrets, "kometa")
	if want := []string{"http://192.168.1.100:32400", "http://192.168.1.200:32400"}; !slices.Equal(got, want) {
		t.Errorf("got the addresses %q in the Secret, want %q", got, want)
	}
}

// strikingAt makes the requests that strikes selects fail.
func strikingAt(how string, strikes func(*http.Request) bool) func(*operator) {
	return func(o *operator) {
		switch how {
		case "killed before":
			o.diesBefore = strikes
		case "failure of":
			o.fail = func(r *http.Request) error {
				if strikes(r) {
					return errors.New("connection refused")
				}
				return nil
			}
		default:
			o.loses = strikes
		}
	}
}

// urlsOf returns the successive addresses in a Secret.
func urlsOf(secrets *recording[*corev1.Secret], name string) []string {
	var urls []string
	_, versions := secrets.of(name)
	for _, secret := range versions {
		urls = append(urls, string(secret.Data["PLEX_URL"]))
	}
	return slices.Compact(urls)
}

// Fault A2: an interrupted renaming leaves no Secret behind.
func TestSecretsOfAnInterruptedRenamingAreRemoved(t *testing.T) {
	t.Parallel()
	for at, diesBefore := range map[string]func(*http.Request) bool{
		"before b is created":          isWrite(http.MethodPost, "/secrets"),
		"before a is deleted":          isWrite(http.MethodDelete, "/secrets/a"),
		"before the status is written": isWrite(http.MethodPatch, "/plexlinks/kometa/status"),
	} {
		t.Run(at, func(t *testing.T) {
			w := newWorld(t)
			var armed atomic.Bool
			first := w.startOperator(func(o *operator) {
				o.diesBefore = func(r *http.Request) bool { return armed.Load() && diesBefore(r) }
			})
			rename := func(name string) func(*v1alpha1.PlexLink) {
				return func(l *v1alpha1.PlexLink) { l.Spec.Secret.Name = name }
			}
			w.linked("kometa", rename("a"))
			w.settled("kometa")
			armed.Store(true)
			w.change("kometa", rename("b"))
			<-first.died
			first.kill()
			w.change("kometa", rename("c"))
			w.startOperator()
			if name := w.reaches("kometa", v1alpha1.ReasonLinked).Status.SecretName; name != "c" {
				t.Errorf("got status.secretName %s, want c", name)
			}
			w.hasExactly("c", "kometa-plexlink-device")
			checkSecretOpensServer(t, w.secret("c"))
		})
	}
}

// hasExactly waits until the namespace has exactly the named Secrets.
func (w *world) hasExactly(names ...string) {
	w.Helper()
	slices.Sort(names)
	w.eventually(fmt.Sprintf("exactly the Secrets %q", names), func() error {
		var got []string
		for _, secret := range w.secrets() {
			got = append(got, secret.Name)
		}
		if slices.Sort(got); !slices.Equal(got, names) {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
}

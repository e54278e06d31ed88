package stories

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// Fault A4: an outage of the API server neither stops the polls of open PINs nor loses a token.
func TestPINLinksDuringAnOutageOfTheAPIServer(t *testing.T) {
	t.Parallel()
	var stories sync.WaitGroup
	for _, outage := range []time.Duration{17 * time.Second, 40 * time.Second, 60 * time.Second} {
		stories.Go(func() {
			t.Run(outage.String(), func(t *testing.T) {
				w := newWorld(t)
				apiServer, host := newAPIServerWire(w)
				o := w.startOperator(func(o *operator) { o.apiServer = host })
				testOutage(w, o, outage, apiServer.cut, apiServer.mend)
			})
		})
	}
	stories.Go(func() {
		t.Run("20s, except for watches", func(t *testing.T) {
			w := newWorld(t)
			var fails atomic.Bool
			o := w.startOperator(func(o *operator) {
				o.fail = func(r *http.Request) error {
					if fails.Load() && !strings.HasPrefix(r.URL.Path, "/api/v2/") && r.URL.Query().Get("watch") == "" {
						return errors.New("etcdserver: request timed out")
					}
					return nil
				}
			})
			testOutage(w, o, 20*time.Second, func() {
				fails.Store(true)
				// The operator's cached versions are outdated.
				for name := range w.links() {
					secret := w.secret(name + v1alpha1.DeviceSecretSuffix)
					secret.Annotations = map[string]string{"example.com/touched": "yes"}
					if err := admin.Update(t.Context(), secret); err != nil {
						t.Fatal(err)
					}
				}
				w.poke()
			}, func() { fails.Store(false) })
		})
	})
	stories.Wait()
}

// twoPINs opens a PIN to be entered during an outage and one to be entered after it.
func (w *world) twoPINs() (codes map[string]string, enter func(name string)) {
	w.Helper()
	codes = map[string]string{}
	for _, name := range []string{"during", "after"} {
		w.create(name)
		codes[name] = w.awaitsPIN(name).Status.PIN.Code
	}
	return codes, func(name string) {
		w.Helper()
		if err := w.sim.Link(codes[name], w.alice); err != nil {
			w.Fatal(err)
		}
	}
}

// testOutage cuts the operator off from the API server. One PIN is entered after two polls, the other after the outage.
func testOutage(w *world, o *operator, outage time.Duration, begin, end func()) {
	codes, enter := w.twoPINs()
	o.forgetRequests()
	begin()
	began := time.Now()
	polls := w.polled("after")
	w.eventually("polls during the outage", func() error {
		if got := w.polled("after"); len(got) < len(polls)+2 {
			return fmt.Errorf("got %d polls", len(got)-len(polls))
		}
		return nil
	})
	enter("during")
	time.Sleep(time.Until(began.Add(outage))) // The outage lasts this long.
	if w.secret("during-plexlink-device").Data[keyToken] != nil || w.secret("during") != nil {
		w.Fatal("the token was stored during the outage, want the operator to be cut off")
	}
	end()
	enter("after")
	ended := time.Now()
	for name := range codes {
		w.reaches(name, v1alpha1.ReasonLinked)
		checkSecretOpensServer(w, w.secret(name))
	}
	w.Logf("linked %s after an outage of %s", time.Since(ended).Round(10*time.Millisecond), outage)
	if pins := w.sim.PINs(); len(pins) != len(codes) || o.count("POST", "/pins") != 0 {
		w.Errorf("got %d PINs, want one for each link", len(pins))
	}
	for name := range codes {
		checkPolls(w, name)
	}
}

// polled returns the times at which the PIN of a link was polled.
func (w *world) polled(name string) []time.Time {
	var polls []time.Time
	for _, r := range w.sim.Requests() {
		if r.Endpoint == plextest.CheckPIN && strings.HasPrefix(r.DeviceName, name+" ") {
			polls = append(polls, r.Time)
		}
	}
	return polls
}

// checkPolls checks that two polls of a PIN were never too far apart for an entered one.
func checkPolls(w *world, name string) {
	w.Helper()
	polls := w.polled(name)
	if len(polls) < 2 {
		w.Errorf("%s: got %d polls, want at least 2", name, len(polls))
	}
	for i := 1; i < len(polls); i++ {
		if apart := polls[i].Sub(polls[i-1]); apart > 5*time.Second {
			w.Errorf("%s: got two polls %s apart, want at most 5s", name, apart.Round(time.Millisecond))
		}
	}
}

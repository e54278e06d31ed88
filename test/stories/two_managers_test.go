package stories

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// A node is cut off, so Kubernetes starts a second manager. When the node is back, the first manager, which saw the PIN
// expire, does not undo what the second one has linked.
func TestTokenOfASecondManagerSurvivesTheReturnOfTheFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	apiServer, host := newAPIServerWire(w)
	address, err := url.Parse(w.sim.URL)
	if err != nil {
		t.Fatal(err)
	}
	plexTV := newWire(w, address.Host)
	managerUnder(w, throughWire(host), "--plex-url=http://"+plexTV.Addr().String())().awaitWork()
	w.create("kometa")
	code := w.awaitsPIN("kometa").Status.PIN.Code
	apiServer.cut()
	plexTV.cut()
	managerBinary(w)().awaitWork()
	if err := w.sim.Link(code, w.alice); err != nil {
		t.Fatal(err)
	}
	w.reaches("kometa", v1alpha1.ReasonLinked)
	token := w.accountToken("kometa")
	w.clock.advance(11 * time.Second) // plex.tv forgets the PIN.
	w.sim.ResetRequests()
	plexTV.mend()
	w.eventually("the first manager's poll of the expired PIN", func() error {
		for _, r := range w.sim.Requests() {
			if r.Endpoint == plextest.CheckPIN {
				return nil
			}
		}
		return errNotYet
	})
	apiServer.mend()
	time.Sleep(15 * time.Second) // Watches back off for this long.
	if link := w.link("kometa"); w.accountToken("kometa") != token || link.Status.PIN != nil {
		t.Errorf("got %q, want the token that the second manager stored", message(link))
	}
}

// Two managers work at the same time, as when a lease changes hands late. Each mints a PIN, and the one that is stored and
// shown first stays: a person may be entering it.
func TestPINThatOneManagerShowsIsNotReplacedByThatOfAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	minted, shown := make(chan struct{}), make(chan struct{})
	slow := w.startOperator(func(o *operator) {
		o.fail = func(req *http.Request) error {
			if isWriteOf(req, "kometa-plexlink-device") && w.sim.Count(plextest.CreatePIN) == 1 {
				close(minted)
				<-shown
			}
			return nil
		}
	})
	w.create("kometa")
	<-minted
	w.startOperator()
	code := w.awaitsPIN("kometa").Status.PIN.Code
	read := slow.count(http.MethodGet, "kometa-plexlink-device")
	close(shown)
	w.eventually("another look at the device Secret", func() error {
		if slow.count(http.MethodGet, "kometa-plexlink-device") == read {
			return errNotYet
		}
		return nil
	})
	if err := w.sim.Link(code, w.alice); err != nil {
		t.Fatal(err)
	}
	w.reaches("kometa", v1alpha1.ReasonLinked)
}

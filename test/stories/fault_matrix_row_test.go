package stories

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// matrixRow is one fault, and a link for each affected endpoint.
type matrixRow struct {
	*world
	fault    plextest.Fault
	outcomes map[string]outcome
	secrets  map[string]*corev1.Secret // before the fault
	pins     map[string]string         // shown before the fault
	pushed   time.Time                 // when the clock was last moved
}

// matrixServers are the media servers of the links that have one of their own, so that a fault there strikes one link.
var matrixServers = map[string]string{"identity": "Identity Server", "sections": "Sections Server"}

// newMatrixRow creates and links the links that exist before the fault.
func newMatrixRow(t *testing.T, fault plextest.Fault, outcomes map[string]outcome) *matrixRow {
	t.Helper()
	m := &matrixRow{
		world: newWorld(t), fault: fault, outcomes: outcomes, secrets: map[string]*corev1.Secret{}, pins: map[string]string{},
	}
	for _, name := range matrixServers {
		m.sim.AddServer(plextest.Server{Name: name, Owner: m.alice})
	}
	if stranger := m.sim.AddServer(plextest.Server{Name: "Stranger"}); fault.RedirectTo != "" {
		m.fault.RedirectTo = stranger.URL + "/"
	}
	// With the product's ten seconds, time-outs would take longer than the rest of the matrix.
	m.startOperator(func(o *operator) { o.timeout = time.Second })
	m.add("ping")
	m.link1("ping")
	m.clock.advance(23*time.Hour + 50*time.Minute) // The ping is due soon.
	linked := []string{"refresh", "identity", "sections", "signout"}
	m.add(linked...)
	for _, name := range linked {
		m.enterPIN(name)
	}
	// The refresh that is due by then is over before the first fault, or a pause would put it off into a later one.
	m.poke()
	m.eventually("the refresh of ping", func() error {
		if last := m.link("ping").Status.LastRefreshTime; m.clock.Since(last.Time) > time.Hour {
			return errNotYet
		}
		return nil
	})
	for _, name := range append(linked, "ping") {
		m.reaches(name, v1alpha1.ReasonLinked)
		m.secrets[name] = m.secret(name)
	}
	return m
}

func (m *matrixRow) add(names ...string) {
	m.Helper()
	for _, name := range names {
		m.create(name, func(l *v1alpha1.PlexLink) {
			l.Spec.Server.Name = "My Plex Server"
			if server := matrixServers[name]; server != "" {
				l.Spec.Server.Name = server
			}
		})
	}
}

// link1 enters the PIN of a link and waits until it is linked.
func (m *matrixRow) link1(name string) {
	m.Helper()
	m.enterPIN(name)
	m.reaches(name, v1alpha1.ReasonLinked)
}

// strike starts the fault at an endpoint.
func (m *matrixRow) strike(endpoint plextest.Endpoint, server string) {
	fault := m.fault
	fault.Endpoint, fault.Server, fault.Times = endpoint, server, -1
	if endpoint == plextest.CheckPIN && m.outcomes["poll"].newPIN {
		fault.Times = 1 // Otherwise every poll would cost a PIN.
	}
	if fault.Header.Get("Retry-After") == "soon" {
		fault.Header = http.Header{"Retry-After": {time.Now().Add(3 * time.Second).UTC().Format(http.TimeFormat)}}
	}
	m.sim.Fault(fault)
}

// whileLinking applies the fault to what a link needs before it has a server: a PIN, and the account.
func (m *matrixRow) whileLinking() {
	m.Helper()
	m.add("user")
	m.awaitsPIN("user")
	m.strike(plextest.User, "")
	m.enterAndCollect("user")
	m.comesTo("user", plextest.User)
	m.strike(plextest.CreatePIN, "")
	m.add("mint")
	m.comesTo("mint", plextest.CreatePIN)
	m.sim.ClearFaults()
	m.recovers("user")
	m.recovers("mint")
}

// whileLinked applies the fault to what a link needs later, and to the polls of another.
func (m *matrixRow) whileLinked() {
	m.Helper()
	m.add("poll")
	m.pins["poll"] = m.awaitsPIN("poll").Status.PIN.Code
	for _, endpoint := range []plextest.Endpoint{plextest.CheckPIN, plextest.Ping, plextest.SignOut} {
		m.strike(endpoint, "")
	}
	m.strike(plextest.Identity, matrixServers["identity"])
	m.strike(plextest.Sections, matrixServers["sections"])
	m.refreshIsDue("identity")
	m.refreshIsDue("sections")
	m.advance(11 * time.Minute)
	struck := map[string]plextest.Endpoint{
		"poll": plextest.CheckPIN, "ping": plextest.Ping, "identity": "", "sections": "",
	}
	for name, endpoint := range struck {
		m.comesTo(name, endpoint)
	}
	if m.outcomes["signout"].ready == "" && m.fault.Code != 0 {
		m.ignoreToken(m.accountToken("signout"), "the fault calls it invalid in place of the sign-out")
	}
	// Last, because a deletion waits for five minutes only.
	if err := admin.Delete(m.Context(), m.link("signout")); err != nil {
		m.Fatal(err)
	}
	m.comesTo("signout", plextest.SignOut)
	m.sim.ClearFaults()
	m.recovers("signout")
	for name := range struck {
		m.recovers(name)
	}
}

// whileAskingForServers applies the fault to the list of servers, for a new link and for a working one.
func (m *matrixRow) whileAskingForServers() {
	m.Helper()
	m.add("resources")
	m.awaitsPIN("resources")
	m.strike(plextest.Resources, "")
	m.enterAndCollect("resources")
	m.refreshIsDue("refresh")
	m.comesTo("resources", plextest.Resources)
	m.comesTo("refresh", plextest.Resources)
	m.sim.ClearFaults()
	m.recovers("resources")
	m.recovers("refresh")
}

// enterAndCollect enters a PIN and waits, by the true time, until the token is collected.
func (m *matrixRow) enterAndCollect(name string) {
	m.Helper()
	m.enterPIN(name)
	m.eventually("the token of "+name, func() error {
		for _, pin := range m.sim.PINs() {
			if pin.DeviceName == m.device(name) && !pin.ClaimedAt.IsZero() && !pin.Collected { // A new PIN may follow at once.
				return errNotYet
			}
		}
		return nil
	})
}

// device is the name under which plex.tv knows a link.
func (m *matrixRow) device(name string) string { return name + " (" + m.namespace + ")" }

// refreshIsDue makes a link list its servers.
func (m *matrixRow) refreshIsDue(name string) {
	m.Helper()
	m.request(name, v1alpha1.RefreshRequestedAtAnnotation)
}

// letting waits for a condition while time passes, so that pauses and back-offs end.
func (m *matrixRow) letting(what string, condition func() error) {
	m.Helper()
	var err error
	for range 300 {
		if err = condition(); err == nil {
			return
		}
		select {
		case <-m.Context().Done():
		case <-time.After(100 * time.Millisecond):
		}
		if time.Since(m.pushed) > 700*time.Millisecond {
			m.pushed = time.Now()
			m.advance(3 * time.Second)
		}
	}
	m.Fatalf("%s did not happen: %v", what, err)
}

// comesTo waits until the fault has affected a link, and checks what the matrix says about it.
func (m *matrixRow) comesTo(name string, endpoint plextest.Endpoint) {
	m.Helper()
	want := m.outcomes[name]
	m.letting("the fault at "+name, func() error {
		if endpoint != "" && !slices.ContainsFunc(m.sim.Requests(), func(r plextest.Request) bool {
			return r.Endpoint == endpoint && r.DeviceName == m.device(name)
		}) {
			return errNotYet
		}
		if err := m.readyIs(name, want); err != nil {
			return err
		}
		if err := m.secretIs(name, want.secret); err != nil {
			return err
		}
		if warnings := m.warnings(name); want.event != "" && !slices.Contains(warnings, want.event) {
			return fmt.Errorf("its warnings are %q, want %s", warnings, want.event)
		}
		return nil
	})
}

func (m *matrixRow) readyIs(name string, want outcome) error {
	var link v1alpha1.PlexLink
	err := admin.Get(m.Context(), types.NamespacedName{Namespace: m.namespace, Name: name}, &link)
	if want.ready == "" || err != nil {
		if client.IgnoreNotFound(err) == nil && err != nil && want.ready == "" {
			return nil
		}
		return fmt.Errorf("got the link with %v, want it gone: %t", err, want.ready == "")
	}
	ready := meta.FindStatusCondition(link.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Reason != want.ready {
		return fmt.Errorf("it is %+v, want %s", ready, want.ready)
	}
	switch pin := link.Status.PIN; {
	case want.newPIN && (pin == nil || pin.Code == m.pins[name]):
		return errors.New("no new PIN is offered")
	case !want.newPIN && m.pins[name] != "" && (pin == nil || pin.Code != m.pins[name]):
		return fmt.Errorf("the PIN is %v, want the one that was shown", pin)
	}
	return nil
}

func (m *matrixRow) secretIs(name string, want secretFate) error {
	secret, before := m.secret(name), m.secrets[name]
	fate := written
	switch {
	case secret == nil && before == nil:
		fate = noSecret
	case secret == nil:
		fate = removed
	case before != nil && secret.ResourceVersion == before.ResourceVersion:
		fate = kept
	}
	if fate != want {
		return fmt.Errorf("of the Secret: %s, want: %s", fate, want)
	}
	return nil
}

// warnings are the reasons of the warnings about a link, in order, each once.
func (m *matrixRow) warnings(name string) []string {
	m.Helper()
	reasons := map[string]bool{}
	for _, e := range m.events() {
		if e.Regarding.Name == name && e.Type == corev1.EventTypeWarning {
			reasons[e.Reason] = true
		}
	}
	return slices.Sorted(maps.Keys(reasons))
}

// recovers checks that the link is well again after the fault, with no more help than the PIN that it asks for.
func (m *matrixRow) recovers(name string) {
	m.Helper()
	if name == "signout" {
		m.letting("the end of "+name, func() error {
			if err := m.readyIs(name, outcome{}); err != nil {
				return err
			}
			return m.secretIs(name, removed)
		})
		return
	}
	entered := ""
	m.letting("the recovery of "+name, func() error {
		link := m.link(name)
		if pin := link.Status.PIN; pin != nil && pin.Code != entered {
			entered = pin.Code
			return errors.Join(errNotYet, m.sim.Link(pin.Code, m.alice))
		}
		for _, condition := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionServerResolved} {
			if !meta.IsStatusConditionTrue(link.Status.Conditions, condition) {
				return fmt.Errorf("%+v", link.Status.Conditions)
			}
		}
		if name == "ping" && !slices.ContainsFunc(m.sim.Requests(), func(r plextest.Request) bool {
			return r.Endpoint == plextest.Ping && r.Status == http.StatusOK
		}) && !m.outcomes[name].newPIN {
			return errors.New("the ping was not made up for")
		}
		return nil
	})
	checkSecretOpensServer(m, m.secret(name))
}

// checkWarnings checks that no link has a warning that is not in the matrix.
func (m *matrixRow) checkWarnings() {
	m.Helper()
	for name, want := range m.outcomes {
		for _, warning := range m.warnings(name) {
			if warning != want.event {
				m.Errorf("%s: got the warning %s, want no other than %q", name, warning, want.event)
			}
		}
	}
}

package stories

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

var (
	kills     = flag.Int("kills", 8, "number of times the kill test kills the manager")
	killLinks = flag.Int("kill-links", 6, "number of links in the kill test")
	killSeed  = flag.Uint64("kill-seed", 0, "random seed of the kill test; 0 picks one")
)

// killStory kills the manager's process while users, administrators and plex.tv carry on.
//
// The invariants are about PINs that were stored in the device Secret, of which a watch sees every version. If the manager
// is killed between plex.tv's answer to POST /pins and that write, it leaves a PIN at plex.tv that was never in a status or
// a Secret, so it could not be entered. That is unavoidable and harmless; it counts only if the link had a stored PIN that
// was alive.
type killStory struct {
	*world
	random   *rand.Rand
	names    []string
	entered  map[string]bool
	relinked map[types.UID]int
	deleted  map[types.UID]bool
	seen     *secretWatch
}

func TestManagerThatIsKilledAtRandomInstantsLosesNothing(t *testing.T) {
	t.Parallel()
	seed := *killSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("%d kills with %d links; repeat with -kill-seed=%d", *kills, *killLinks, seed)
	s := &killStory{
		world: newWorld(t), random: rand.New(rand.NewPCG(seed, 0)),
		entered: map[string]bool{}, relinked: map[types.UID]int{}, deleted: map[types.UID]bool{},
	}
	s.seen = watchSecrets(s.world)
	for i := range *killLinks {
		s.names = append(s.names, fmt.Sprintf("link-%02d", i))
	}
	start := managerBinary(s.world, "--plex-qps=200", "--plex-burst=200")
	served := time.Now()
	for range *kills {
		p := start()
		life := time.Duration(s.random.Int64N(int64(2 * time.Second)))
		// An entered PIN lives ten seconds. A manager that is always killed before it can poll cannot collect the token, so
		// after four seconds without service one gets a whole second.
		if starved := time.Since(served) > 4*time.Second; starved || s.random.IntN(4) > 0 {
			p.awaitWork()
			if starved {
				life = max(life, time.Second)
			}
		}
		began := time.Now()
		for time.Since(began) < life {
			s.act()
			time.Sleep(time.Duration(s.random.Int64N(int64(60 * time.Millisecond))))
		}
		select {
		case <-p.working:
			if life >= time.Second {
				served = time.Now()
			}
		default:
		}
		p.kill()
	}
	s.sim.ClearFaults()
	last := start()
	for deadline := time.Now().Add(90 * time.Second); !s.allReady(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("not all links are ready after the last kill:\n%s", s.kubectl("get", "plexlinks"))
			break
		}
		s.createMissing()
		s.enterPINs(1)
	}
	last.kill()
	s.check()
}

// act runs a random action, or none.
func (s *killStory) act() {
	s.createMissing()
	s.enterPINs(0.2)
	name := s.names[s.random.IntN(len(s.names))]
	link := s.links()[name]
	if link == nil || link.DeletionTimestamp != nil {
		return
	}
	ready := meta.IsStatusConditionTrue(link.Status.Conditions, v1alpha1.ConditionReady)
	switch s.random.IntN(24) {
	case 0:
		s.deleted[link.UID] = true
		s.must(admin.Delete(s.Context(), link))
	case 1, 2:
		if ready {
			s.request(name, v1alpha1.RefreshRequestedAtAnnotation)
		}
	case 3:
		if ready && link.Status.PIN == nil {
			s.relinked[link.UID]++
			s.request(name, v1alpha1.LinkRequestedAtAnnotation)
		}
	case 4:
		if ready {
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespace}}
			s.must(admin.Delete(s.Context(), secret))
		}
	case 5, 6, 7:
		fault := killFaults[s.random.IntN(len(killFaults))]
		fault.Times = 1 + s.random.IntN(3)
		s.sim.Fault(fault)
	case 8, 9:
		s.sim.ClearFaults()
	}
}

// killFaults leave an entered PIN enough of its ten seconds.
var killFaults = []plextest.Fault{
	{Endpoint: plextest.CreatePIN, Status: 500},
	{Endpoint: plextest.CreatePIN, DropAnswer: true},
	{Endpoint: plextest.CreatePIN, Status: 429},
	{Endpoint: plextest.CheckPIN, Status: 502},
	{Endpoint: plextest.CheckPIN, Drop: true},
	{Endpoint: plextest.CheckPIN, DropAnswer: true},
	{Endpoint: plextest.CheckPIN, Body: `{"authToken":`},
	{Endpoint: plextest.CheckPIN, Status: 429, Header: http.Header{"Retry-After": {"1"}}},
	{Endpoint: plextest.User, Status: 500},
	{Endpoint: plextest.Resources, Status: 503},
	{Endpoint: plextest.Resources, Status: 401, Code: 1031},
	{Endpoint: plextest.Resources, DropAnswer: true},
	{Endpoint: plextest.Resources, Delay: 500 * time.Millisecond},
	{Endpoint: plextest.SignOut, Status: 500},
	{Endpoint: plextest.SignOut, DropAnswer: true},
	{Endpoint: plextest.Identity, Status: 500},
	{Endpoint: plextest.Identity, Delay: 300 * time.Millisecond},
	{Endpoint: plextest.Sections, Drop: true},
}

func (s *killStory) must(err error) {
	s.Helper()
	if client.IgnoreNotFound(err) != nil {
		s.Fatal(err)
	}
}

// createMissing creates the links that do not exist yet, or were deleted.
func (s *killStory) createMissing() {
	links := s.links()
	for _, name := range s.names {
		if links[name] == nil {
			s.create(name)
		}
	}
}

// enterPINs enters each open PIN with a probability.
func (s *killStory) enterPINs(probability float64) {
	links := s.links()
	for _, name := range s.names { // in an order determined by the seed
		link := links[name]
		if link == nil || link.DeletionTimestamp != nil || link.Status.PIN == nil || s.entered[pinOf(link)] || s.random.Float64() > probability {
			continue
		}
		s.entered[pinOf(link)] = true
		if err := s.sim.Link(link.Status.PIN.Code, s.alice); err != nil && !s.deleted[link.UID] {
			s.Errorf("%s shows a PIN that cannot be entered: %v", name, err)
		}
	}
}

// pinOf distinguishes the PINs of two links: plex.tv reuses a code once it was entered.
func pinOf(link *v1alpha1.PlexLink) string { return string(link.UID) + "/" + link.Status.PIN.Code }

// allReady reports whether every link is ready and shows no PIN.
func (s *killStory) allReady() bool {
	links := s.links()
	for _, name := range s.names {
		link := links[name]
		if link == nil || link.DeletionTimestamp != nil || link.Status.PIN != nil ||
			!meta.IsStatusConditionTrue(link.Status.Conditions, v1alpha1.ConditionReady) {
			return false
		}
	}
	return true
}

// check checks what must hold in the end.
func (s *killStory) check() {
	links := s.links()
	for _, name := range s.names {
		if link := links[name]; link == nil || !meta.IsStatusConditionTrue(link.Status.Conditions, v1alpha1.ConditionReady) {
			s.Errorf("%s is not ready", name)
		} else if secret := s.secret(name); secret == nil {
			s.Errorf("%s is ready without a Secret", name)
		} else {
			checkSecretOpensServer(s, secret)
		}
	}
	seen := s.seen.stop()
	stored := map[string]plextest.PIN{} // the last stored PIN of each client identifier
	counts, orphans, claimed := map[types.UID]int{}, 0, 0
	for _, pin := range s.sim.PINs() {
		id := strconv.FormatInt(pin.ID, 10)
		before, hadPIN := stored[pin.ClientIdentifier]
		if hadPIN && (before.ClaimedAt.IsZero() || before.ClaimedAt.After(pin.CreatedAt)) {
			s.Errorf("a second PIN was created for %s while it had a live one", pin.DeviceName)
		}
		if !seen.pins[id] {
			orphans++
			continue
		}
		stored[pin.ClientIdentifier] = pin
		link := seen.links[pin.ClientIdentifier]
		if counts[link]++; counts[link] > 1+s.relinked[link] {
			s.Errorf("%s got %d PINs, want at most %d", pin.DeviceName, counts[link], 1+s.relinked[link])
		}
		if pin.ClaimedAt.IsZero() {
			continue
		}
		claimed++
		if !seen.tokens[pin.Token] && !s.deleted[link] {
			s.Errorf("the token of %s is lost: its PIN was entered at %s, collected: %t",
				pin.DeviceName, pin.ClaimedAt.Format(time.TimeOnly), pin.Collected)
		}
	}
	for token := range seen.tokens {
		if s.deleted[seen.owners[token]] && opensPlexTV(s.world, token) {
			s.Errorf("a token of a deleted link still works")
		}
	}
	s.Logf("%d PINs, %d entered and %d orphaned before they were stored; %d links deleted, %d relinked; %d versions of Secrets, %d MiB of log",
		len(s.sim.PINs()), claimed, orphans, len(s.deleted), len(s.relinked), seen.versions, len(s.logs.String())>>20)
}

// opensPlexTV reports whether plex.tv accepts a token.
func opensPlexTV(w *world, token string) bool {
	req, err := http.NewRequestWithContext(w.Context(), http.MethodGet, w.sim.URL+"/api/v2/user", nil)
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("X-Plex-Token", token)
	req.Header.Set("X-Plex-Client-Identifier", "checker")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func TestPINEnteredJustBeforeAKillLinksSixSecondsLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.startOperator()
	w.create("kometa")
	code := w.awaitsPIN("kometa").Status.PIN.Code
	o.kill()
	if err := w.sim.Link(code, w.alice); err != nil {
		t.Fatal(err)
	}
	w.clock.advance(6 * time.Second)
	w.startOperator()
	w.reaches("kometa", v1alpha1.ReasonLinked)
	if pins := w.sim.PINs(); len(pins) != 1 {
		t.Errorf("got %d PINs, want one", len(pins))
	}
}

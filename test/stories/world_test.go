package stories

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

var errNotYet = errors.New("not yet")

// world is the setting of a story: a namespace, a plex.tv with alice and her server, and operators.
type world struct {
	testing.TB
	namespace string
	clock     *movingClock
	sim       *plextest.Simulator
	network   *plextest.Network
	alice     *plextest.Account
	server    *plextest.MediaServer
	logs      *syncBuffer
	operators []*operator

	// Exceptions from the checks at the end of the story, see waive, leaves and ignoreToken.
	waived        map[check]bool
	left, ignored map[string]bool
}

// newWorld starts a simulator with alice, who owns "My Plex Server", and runs the checks of every story at the end.
func newWorld(t testing.TB) *world {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: namespaceOf(t)}}
	if err := admin.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	w := &world{
		TB: t, namespace: namespace.Name, clock: &movingClock{}, logs: &syncBuffer{}, network: &plextest.Network{Listeners: map[string]string{}, Hosts: map[string]string{}},
		waived: map[check]bool{}, left: map[string]bool{}, ignored: map[string]bool{},
	}
	w.sim = plextest.New(plextest.Options{Clock: w.clock})
	t.Cleanup(w.sim.Close)
	w.alice = w.sim.AddAccount("alice")
	w.server = w.sim.AddServer(plextest.Server{Name: "My Plex Server", Owner: w.alice})
	t.Cleanup(func() { w.checkInvariants() })
	t.Cleanup(func() {
		for _, o := range w.operators {
			o.stop()
		}
	})
	t.Cleanup(func() { w.checkSettled() })
	return w
}

// eventually waits until the condition returns nil.
func (w *world) eventually(what string, condition func() error) {
	w.Helper()
	w.eventuallyWithin(20*time.Second, what, condition)
}

func (w *world) eventuallyWithin(limit time.Duration, what string, condition func() error) {
	w.Helper()
	if err := waitFor(limit, condition); err != nil {
		w.Fatalf("timed out waiting for %s: %v", what, err)
	}
}

// waitFor returns nil soon after the condition does, or its last error when the time is up.
func waitFor(limit time.Duration, condition func() error) error {
	const interval = 50 * time.Millisecond // Most conditions ask the API server, and many stories share the machine.
	for deadline := time.Now().Add(limit); ; time.Sleep(interval) {
		if err := condition(); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// secret reads a Secret, or returns nil.
func (w *world) secret(name string) *corev1.Secret {
	w.Helper()
	var secret corev1.Secret
	err := admin.Get(context.Background(), types.NamespacedName{Namespace: w.namespace, Name: name}, &secret)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		w.Fatal(err)
	}
	return &secret
}

// advance moves the clock of operator and simulator, and makes the operator reconcile every link.
func (w *world) advance(d time.Duration) {
	w.Helper()
	w.clock.advance(d)
	w.poke()
}

// poke makes the operators reconcile every link, as their timers would in real time.
func (w *world) poke() {
	w.Helper()
	w.wake(w.links())
}

// wake makes the operators reconcile links. Those that have not begun yet will look at all anyway.
func (w *world) wake(links map[string]*v1alpha1.PlexLink) {
	for _, o := range w.operators {
		for name := range links {
			if o.running() && o.elected() {
				o.reconciler.Wake(types.NamespacedName{Namespace: w.namespace, Name: name})
			}
		}
	}
}

// events returns all events of the namespace.
func (w *world) events() []eventsv1.Event {
	w.Helper()
	var events eventsv1.EventList
	if err := admin.List(w.Context(), &events, client.InNamespace(w.namespace)); err != nil {
		w.Fatal(err)
	}
	return events.Items
}

// hasEvent waits for an event with the reason and text in its note.
func (w *world) hasEvent(reason, text string) {
	w.Helper()
	w.eventually("event "+reason, func() error {
		var events eventsv1.EventList
		if err := admin.List(w.Context(), &events, client.InNamespace(w.namespace)); err != nil {
			return err
		}
		var seen []string
		for _, e := range events.Items {
			if e.Reason == reason && strings.Contains(e.Note, text) {
				return nil
			}
			seen = append(seen, e.Reason+": "+e.Note)
		}
		return fmt.Errorf("got %q, want %q", seen, text)
	})
}

// kubectl runs the real kubectl in the world's namespace.
func (w *world) kubectl(args ...string) string {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), filepath.Join(assets, "kubectl"),
		append([]string{"--kubeconfig", kubeconfigFile, "-n", w.namespace}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.Fatalf("kubectl %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// movingClock returns the real time plus the time that a story has let pass.
type movingClock struct{ moved atomic.Int64 }

func (c *movingClock) Now() time.Time                  { return time.Now().Add(time.Duration(c.moved.Load())) }
func (c *movingClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }
func (c *movingClock) advance(d time.Duration)         { c.moved.Add(int64(d)) }

var _ clock.PassiveClock = &movingClock{}

// syncBuffer is a buffer for concurrent writers.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

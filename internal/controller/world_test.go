package controller

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	uberzap "go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	crcontroller "sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
	"plexlink.dev/operator/internal/plex/plextest"
)

var errNotYet = errors.New("it is not there yet")

// world is what a story happens in: a namespace, a plex.tv with alice and her server, and operators.
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
}

// newWorld starts a simulator with alice, who owns "My Plex Server", and checks at the end what must hold in every
// story.
func newWorld(t testing.TB) *world {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: namespaceOf(t)}}
	if err := admin.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	w := &world{TB: t, namespace: namespace.Name, clock: &movingClock{}, logs: &syncBuffer{}, network: &plextest.Network{}}
	w.sim = plextest.New(plextest.Options{Clock: w.clock})
	t.Cleanup(w.sim.Close)
	w.alice = w.sim.AddAccount("alice")
	w.server = w.sim.AddServer(plextest.Server{Name: "My Plex Server", Owner: w.alice})
	t.Cleanup(func() { w.checkInvariants() })
	return w
}

// checkInvariants holds at the end of every story: the statuses follow kstatus, and no secret is outside Secrets.
func (w *world) checkInvariants() {
	ctx := context.Background()
	var links v1alpha1.PlexLinkList
	if err := admin.List(ctx, &links, client.InNamespace(w.namespace)); err != nil {
		w.Error(err)
	}
	for _, link := range links.Items {
		for _, broken := range brokenStatusRules(&link) {
			w.Errorf("%s: %s\n%+v", link.Name, broken, link.Status.Conditions)
		}
	}
	for _, leak := range w.leaks(ctx) {
		w.Error(leak)
	}
	if w.Failed() && os.Getenv("PLEXLINK_TEST_LOGS") != "" {
		w.Log(w.logs.String())
	}
}

// leaks lists the places outside Secrets where a token, a PIN id or a client identifier is seen.
func (w *world) leaks(ctx context.Context) []string {
	places := map[string]string{"log": w.logs.String()}
	for i, o := range w.operators {
		places[fmt.Sprint("metrics of operator ", i)] = exposition(w, o.metrics)
	}
	var links v1alpha1.PlexLinkList
	var events eventsv1.EventList
	if err := errors.Join(admin.List(ctx, &links, client.InNamespace(w.namespace)), admin.List(ctx, &events, client.InNamespace(w.namespace))); err != nil {
		return []string{err.Error()}
	}
	for _, link := range links.Items {
		link.Spec.Device.ClientIdentifier = "" // The person has put it there.
		delete(link.Annotations, "kubectl.kubernetes.io/last-applied-configuration")
		link.ManagedFields = nil
		places["PlexLink "+link.Name] = fmt.Sprintf("%+v", link)
	}
	for _, event := range events.Items {
		places["event "+event.Name] = event.Reason + event.Action + event.Note
	}
	var leaks []string
	for _, secret := range w.sim.Secrets() {
		for place, text := range places {
			if strings.Contains(text, secret) {
				at := strings.Index(text, secret)
				leaks = append(leaks, fmt.Sprintf("a secret is in %s: …%s[it]", place, text[max(0, at-150):at]))
			}
		}
	}
	return leaks
}

// operator is a running manager.
type operator struct {
	w          *world
	reconciler *Reconciler
	metrics    *prometheus.Registry
	stop       context.CancelFunc
	stopped    chan struct{}
	// dead makes every request fail before it is sent, as if the process had been killed.
	dead atomic.Bool
	// diesBefore decides whether the operator is killed just before a request.
	diesBefore func(*http.Request) bool
	died       chan struct{}
	// timeout of a request to plex.tv.
	timeout time.Duration
	// deny has the networks in which no media server is contacted; with it the true network takes the simulated one's place.
	deny []netip.Prefix
	// publicRootsOnly keeps it from trusting the certificates of the simulator's media servers.
	publicRootsOnly bool

	mu     sync.Mutex
	writes []string
}

// startOperator starts a manager for the world's namespace, with exactly the rights of config/rbac.
func (w *world) startOperator(change ...func(*operator)) *operator {
	w.Helper()
	o := &operator{w: w, stopped: make(chan struct{}), died: make(chan struct{}), timeout: 5 * time.Second, metrics: prometheus.NewPedanticRegistry()}
	w.operators = append(w.operators, o)
	o.reconciler = &Reconciler{QPS: 1000, Burst: 1000, Version: "test", Clock: w.clock, Metrics: o.metrics}
	for _, c := range change {
		c(o)
	}
	restConfig := rest.CopyConfig(operatorConfig)
	restConfig.Wrap(o.watchRequests)
	mgr, err := ctrl.NewManager(restConfig, ctrl.Options{
		Scheme:  testScheme,
		Logger:  w.logger(),
		Cache:   CacheOptions([]string{w.namespace}),
		Metrics: metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{
			MaxConcurrentReconciles: 20, ReconciliationTimeout: time.Minute, SkipNameValidation: new(true),
		},
	})
	if err != nil {
		w.Fatal(err)
	}
	r := o.reconciler
	r.Client, r.APIReader, r.Recorder = mgr.GetClient(), mgr.GetAPIReader(), mgr.GetEventRecorder(v1alpha1.ManagedBy)
	plexTransport := o.watchRequests(plex.NewTransport(plex.TransportOptions{}))
	if r.Plex, err = plex.NewClient(plex.Options{BaseURL: w.sim.URL, Transport: plexTransport, Timeout: o.timeout}); err != nil {
		w.Fatal(err)
	}
	r.NewTransport = func(roots *x509.CertPool) *http.Transport {
		if roots == nil && !o.publicRootsOnly {
			roots = w.sim.CertPool()
		}
		return plex.NewTransport(plex.TransportOptions{RootCAs: roots, Deny: o.deny, DialContext: o.dial(w)})
	}
	if err := r.SetupWithManager(mgr, crcontroller.Options{}); err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	o.stop = func() {
		cancel()
		<-o.stopped
	}
	go func() {
		defer close(o.stopped)
		if err := mgr.Start(ctx); err != nil && !o.dead.Load() {
			w.Errorf("the manager ended: %v", err)
		}
	}()
	w.Cleanup(o.stop)
	return o
}

// dial is the simulated network, or nil for the true one with its guard.
func (o *operator) dial(w *world) func(context.Context, string, string) (net.Conn, error) {
	if o.deny != nil {
		return nil
	}
	return w.network.DialContext
}

// logger writes what the operator logs at the highest level that the manager allows.
func (w *world) logger() logr.Logger {
	level := uberzap.NewAtomicLevelAt(zapcore.Level(-7))
	return zap.New(zap.UseDevMode(true), zap.Level(level), zap.WriteTo(w.logs))
}

// kill ends the operator as kill -9 would: nothing more is sent.
func (o *operator) kill() {
	if o.dead.CompareAndSwap(false, true) {
		close(o.died)
	}
	o.stop()
}

// watchRequests counts writes and kills the operator where the story wants it.
func (o *operator) watchRequests(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if o.diesBefore != nil && !o.dead.Load() && o.diesBefore(req) && o.dead.CompareAndSwap(false, true) {
			close(o.died)
		}
		if o.dead.Load() {
			return nil, errors.New("the process is dead")
		}
		if strings.HasPrefix(req.URL.Path, "/api/v1/namespaces/"+o.w.namespace) || strings.HasPrefix(req.URL.Path, "/apis/plexlink.dev") {
			if req.Method != http.MethodGet {
				o.mu.Lock()
				o.writes = append(o.writes, req.Method+" "+req.URL.Path)
				o.mu.Unlock()
			}
		}
		return next.RoundTrip(req)
	})
}

// written returns the writes to PlexLinks and Secrets so far.
func (o *operator) written() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.writes...)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// create makes a PlexLink; the changes are made before.
func (w *world) create(name string, change ...func(*v1alpha1.PlexLink)) *v1alpha1.PlexLink {
	w.Helper()
	link := &v1alpha1.PlexLink{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace}}
	for _, c := range change {
		c(link)
	}
	if err := admin.Create(w.Context(), link); err != nil {
		w.Fatal(err)
	}
	return link
}

// link reads a PlexLink.
func (w *world) link(name string) *v1alpha1.PlexLink {
	w.Helper()
	var link v1alpha1.PlexLink
	if err := admin.Get(w.Context(), types.NamespacedName{Namespace: w.namespace, Name: name}, &link); err != nil {
		w.Fatal(err)
	}
	return &link
}

// change updates a PlexLink, whatever else happens to it.
func (w *world) change(name string, change func(*v1alpha1.PlexLink)) {
	w.Helper()
	link := w.link(name)
	before := link.DeepCopy()
	change(link)
	if err := admin.Patch(w.Context(), link, client.MergeFrom(before)); err != nil {
		w.Fatal(err)
	}
}

// eventually waits until the condition holds; it returns nil when it does.
func (w *world) eventually(what string, condition func() error) {
	w.Helper()
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = condition(); err == nil {
			return
		}
	}
	w.Fatalf("%s did not happen: %v", what, err)
}

// reaches waits until the PlexLink's Ready condition has the reason, and returns it.
func (w *world) reaches(name, reason string) *v1alpha1.PlexLink {
	w.Helper()
	var link *v1alpha1.PlexLink
	w.eventually(name+" with status "+reason, func() error {
		link = w.link(name)
		ready := meta.FindStatusCondition(link.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil {
			return errors.New("it has no condition yet")
		}
		if ready.Reason != reason || link.Status.ObservedGeneration != link.Generation {
			return fmt.Errorf("it is %s: %s", ready.Reason, ready.Message)
		}
		return nil
	})
	return link
}

// message of the Ready condition.
func message(link *v1alpha1.PlexLink) string {
	return meta.FindStatusCondition(link.Status.Conditions, v1alpha1.ConditionReady).Message
}

// enterPIN enters the open PIN of a link, as alice.
func (w *world) enterPIN(name string) {
	w.Helper()
	if err := w.sim.Link(w.reaches(name, v1alpha1.ReasonAwaitingLink).Status.PIN.Code, w.alice); err != nil {
		w.Fatal(err)
	}
}

// linked makes a PlexLink and links it.
func (w *world) linked(name string, change ...func(*v1alpha1.PlexLink)) *v1alpha1.PlexLink {
	w.Helper()
	w.create(name, change...)
	w.enterPIN(name)
	return w.reaches(name, v1alpha1.ReasonLinked)
}

// secret reads a Secret; nil: there is none.
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

// advance moves the time of operator and simulator, and makes the operator look at every link.
func (w *world) advance(d time.Duration) {
	w.Helper()
	w.clock.advance(d)
	w.poke()
}

// poke makes the operator look at every link, as its timers would by the true time.
func (w *world) poke() {
	w.Helper()
	var links v1alpha1.PlexLinkList
	if err := admin.List(w.Context(), &links, client.InNamespace(w.namespace)); err != nil {
		w.Fatal(err)
	}
	for _, link := range links.Items {
		patch := fmt.Sprintf(`{"metadata":{"annotations":{"test.example.com/poke":"%d"}}}`, time.Now().UnixNano())
		if err := admin.Patch(w.Context(), &link, client.RawPatch(types.MergePatchType, []byte(patch))); client.IgnoreNotFound(err) != nil {
			w.Fatal(err)
		}
	}
}

// hasEvent waits for an event with the reason and a text in its note.
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
		return fmt.Errorf("there is %q", seen)
	})
}

// kubectl runs the real kubectl in the world's namespace.
func (w *world) kubectl(args ...string) string {
	w.Helper()
	kubectl, err := filepath.Abs("../../bin/k8s/kubectl")
	if err != nil {
		w.Fatal(err)
	}
	cmd := exec.CommandContext(w.Context(), kubectl, append([]string{"--kubeconfig", kubeconfigFile, "-n", w.namespace}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.Fatalf("kubectl %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// movingClock tells the true time, moved by what a story has let pass.
type movingClock struct{ moved atomic.Int64 }

func (c *movingClock) Now() time.Time                  { return time.Now().Add(time.Duration(c.moved.Load())) }
func (c *movingClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }
func (c *movingClock) advance(d time.Duration)         { c.moved.Add(int64(d)) }

var _ clock.PassiveClock = &movingClock{}

// syncBuffer is a buffer that several may write to.
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

// brokenStatusRules lists the rules of kstatus that a status breaks.
func brokenStatusRules(link *v1alpha1.PlexLink) []string {
	var broken []string
	rule := func(holds bool, text string) {
		if !holds {
			broken = append(broken, text)
		}
	}
	conditions := link.Status.Conditions
	ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	if ready == nil {
		rule(link.Status.ObservedGeneration == -1, "a status without Ready is one that was never observed")
		return broken
	}
	reconciling := meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReconciling)
	isStalled := meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled)
	rule(link.Status.ObservedGeneration <= link.Generation, "observedGeneration is not ahead")
	rule(!reconciling || !isStalled, "Reconciling and Stalled exclude each other")
	rule(ready.Status != metav1.ConditionTrue || !reconciling && !isStalled, "a Ready link is neither Reconciling nor Stalled")
	rule(ready.Status == metav1.ConditionTrue || reconciling || isStalled || ready.Reason == v1alpha1.ReasonSuspended, "a link that is not Ready is Reconciling or Stalled")
	rule((ready.Status == metav1.ConditionTrue) == (ready.Reason == v1alpha1.ReasonLinked), "only Linked is Ready")
	rule(!isStalled || link.Status.PIN == nil, "a link that waits for a person to enter a PIN is not Stalled")
	for _, c := range conditions {
		rule(c.Reason != "" && c.Message != "", c.Type+" has a reason and a message")
		rule(c.ObservedGeneration <= link.Generation, c.Type+" has an observedGeneration")
		if c.Type == v1alpha1.ConditionReconciling || c.Type == v1alpha1.ConditionStalled {
			rule(c.Status == metav1.ConditionTrue, c.Type+" is absent when it does not hold")
		}
	}
	return broken
}

package stories

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	uberzap "go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/controller"
	"plexlink.dev/operator/internal/plex"
)

// The keys of the device Secret.
const (
	keyClientIdentifier = "client-identifier"
	keyToken            = "token"
	keyServerToken      = "server-token"
	keyPINID            = "pin-id"
	keyState            = "state.json"
)

// operator is a running manager.
type operator struct {
	w          *world
	reconciler *controller.Reconciler
	metrics    *prometheus.Registry
	manager    ctrl.Manager
	// namespaces are served in addition to the world's.
	namespaces []string
	stop       context.CancelFunc
	stopped    chan struct{}
	// dead makes every request fail before it is sent, as after a kill.
	dead atomic.Bool
	// diesBefore decides whether the operator is killed just before a request to the API server or plex.tv.
	diesBefore func(*http.Request) bool
	died       chan struct{}
	// fail returns the error for a request to the API server or plex.tv, which is then not sent, or nil to send it.
	fail func(*http.Request) error
	// answer returns the response to a request to the API server or plex.tv, which is then not sent, or nil to send it.
	answer func(*http.Request) *http.Response
	// loses decides whether a request is carried out and its answer lost.
	loses func(*http.Request) bool
	// apiServer replaces the host of the API server unless "".
	apiServer string
	// timeout of a request to plex.tv; 0 means the default.
	timeout time.Duration
	// deny lists networks in which no media server is contacted; with it the real network replaces the simulated one.
	deny []netip.Prefix
	// publicRootsOnly makes the operator distrust the certificates of the simulated media servers.
	publicRootsOnly bool

	mu   sync.Mutex
	sent []string // see requests
}

// startOperator starts a manager for the world's namespace, with exactly the permissions of config/rbac and the product's
// values.
func (w *world) startOperator(change ...func(*operator)) *operator {
	w.Helper()
	o := &operator{w: w, stopped: make(chan struct{}), died: make(chan struct{}), metrics: prometheus.NewPedanticRegistry()}
	o.reconciler = &controller.Reconciler{
		QPS: 5, Burst: 10, Workers: 20, Version: "test", Clock: w.clock, Metrics: o.metrics,
		ClusterDomain: "cluster.local", ServerCheckInterval: time.Minute,
	}
	for _, c := range change {
		c(o)
	}
	o.reconciler.Namespaces = append(o.namespaces, w.namespace)
	restConfig := rest.CopyConfig(operatorConfig)
	restConfig.Wrap(o.watchRequests)
	if o.apiServer != "" {
		restConfig.Host = o.apiServer
	}
	var err error
	o.manager, err = ctrl.NewManager(restConfig, ctrl.Options{
		Scheme:  testScheme,
		Logger:  w.logger(),
		Cache:   controller.CacheOptions(o.reconciler.Namespaces),
		Metrics: metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{
			ReconciliationTimeout: time.Minute, EnableWarmup: new(true), SkipNameValidation: new(true),
		},
	})
	if err != nil {
		w.Fatal(err)
	}
	r := o.reconciler
	r.Client, r.APIReader, r.Recorder = o.manager.GetClient(), o.manager.GetAPIReader(), o.manager.GetEventRecorder(v1alpha1.ManagedBy)
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
	if err := r.SetupWithManager(o.manager); err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	o.stop = func() {
		cancel()
		<-o.stopped
	}
	w.operators = append(w.operators, o)
	go func() {
		defer close(o.stopped)
		if err := o.manager.Start(ctx); err != nil && !o.dead.Load() {
			w.Errorf("the manager exited: %v", err)
		}
	}()
	return o
}

// withQPS sets another budget for plex.tv than the product's.
func withQPS(qps float64, burst int) func(*operator) {
	return func(o *operator) { o.reconciler.QPS, o.reconciler.Burst = qps, burst }
}

// dial returns the dialer of the simulated network, or nil for the real one with its guard.
func (o *operator) dial(w *world) func(context.Context, string, string) (net.Conn, error) {
	if o.deny != nil {
		return nil
	}
	return w.network.DialContext
}

// logger writes the operator's log at the highest level that the manager allows.
func (w *world) logger() logr.Logger {
	level := uberzap.NewAtomicLevelAt(zapcore.Level(-7))
	return zap.New(zap.UseDevMode(true), zap.Level(level), zap.WriteTo(w.logs))
}

// kill ends the operator like kill -9: nothing more is sent. The story does not wait for what it still attempts, such as
// storing a token for five seconds, and goes on at once, as the next process would. One that is still starting has no effects
// yet, and controller-runtime's manager would spin forever if it ended before its caches are filled, so it may start first.
func (o *operator) kill() {
	_ = waitFor(5*time.Second, func() error {
		if o.running() && !o.elected() {
			return errNotYet
		}
		return nil
	})
	if o.dead.CompareAndSwap(false, true) {
		close(o.died)
	}
	go o.stop()
}

// elected reports whether the operator has started to work.
func (o *operator) elected() bool {
	select {
	case <-o.manager.Elected():
		return true
	default:
		return false
	}
}

// running reports whether the operator has been neither stopped nor killed.
func (o *operator) running() bool {
	select {
	case <-o.stopped:
		return false
	default:
		return !o.dead.Load()
	}
}

// watchRequests records requests, and kills the operator, fails or answers them as the story demands.
func (o *operator) watchRequests(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if o.diesBefore != nil && !o.dead.Load() && o.diesBefore(req) && o.dead.CompareAndSwap(false, true) {
			close(o.died)
		}
		if o.dead.Load() {
			return nil, errors.New("the process is dead")
		}
		o.mu.Lock()
		o.sent = append(o.sent, req.Method+" "+req.URL.Path)
		o.mu.Unlock()
		if o.fail != nil {
			if err := o.fail(req); err != nil {
				return nil, err
			}
		}
		if o.answer != nil {
			if resp := o.answer(req); resp != nil {
				return resp, nil
			}
		}
		resp, err := next.RoundTrip(req)
		if err == nil && o.loses != nil && o.loses(req) {
			_ = resp.Body.Close()
			return nil, errors.New("the response was lost")
		}
		return resp, err
	})
}

// requests returns the requests to the API server and to plex.tv (below /api/v2) since the start or the last
// forgetRequests, for example "PATCH /api/v1/namespaces/media/secrets/kometa".
func (o *operator) requests() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.sent)
}

// forgetRequests empties the record of requests.
func (o *operator) forgetRequests() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent = nil
}

// count returns how many of the requests have the method ("" stands for any) and a path that contains the text.
func (o *operator) count(method, path string) int {
	n := 0
	for _, request := range o.requests() {
		if m, p, _ := strings.Cut(request, " "); (method == "" || m == method) && strings.Contains(p, path) {
			n++
		}
	}
	return n
}

// written returns the writes to PlexLinks and Secrets among the requests.
func (o *operator) written() []string {
	return slices.DeleteFunc(o.requests(), func(request string) bool {
		method, path, _ := strings.Cut(request, " ")
		return method == http.MethodGet ||
			!strings.HasPrefix(path, "/api/v1/namespaces/"+o.w.namespace) && !strings.HasPrefix(path, "/apis/plexlink.dev")
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// refusal returns an answer of the API server that refuses a request.
func refusal(req *http.Request, code int32, reason metav1.StatusReason, message string) *http.Response {
	body, err := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: code, Reason: reason, Message: message,
	})
	if err != nil {
		panic(err)
	}
	return &http.Response{
		StatusCode: int(code), Status: fmt.Sprint(code, " ", http.StatusText(int(code))),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}
}

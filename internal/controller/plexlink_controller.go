// Package controller reconciles PlexLinks: it offers a PIN while there is no token, then maintains a Secret with a token and
// a proven address.
//
// Reconcile is a list of steps, each in its own file. A step acts and records its findings in a scope; status.go derives the
// status from that. Everything known about a link is one state (state.go), which is stored in the device Secret before it is
// shown or acted on, so the operator may be killed at any instant.
package controller

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/discovery"
	"plexlink.dev/operator/internal/pace"
	"plexlink.dev/operator/internal/plex"
	"plexlink.dev/operator/internal/servercheck"
)

const (
	// conflictInterval is how often a link checks whether a conflicting Secret is gone. Foreign Secrets are not cached, so
	// their deletion triggers no reconcile.
	conflictInterval = 10 * time.Second
	// retryInterval is the time after which a PlexLink that could not be read, or a status that could not be written, is retried.
	retryInterval = 2 * time.Second
	// pollPriority puts links with an open PIN before all others: an entered PIN lives ten seconds.
	pollPriority = 100
)

// Reconciler reconciles PlexLinks.
type Reconciler struct {
	// Client writes, and reads PlexLinks from the cache.
	Client client.Client
	// APIReader reads from the API server.
	APIReader client.Reader
	// Recorder records events.
	Recorder events.EventRecorder
	// Plex is plex.tv.
	Plex *plex.Client
	// NewTransport returns a transport to media servers; nil roots stand for the public certificates.
	NewTransport func(roots *x509.CertPool) *http.Transport
	// QPS and Burst are the whole operator's budget of requests to plex.tv.
	QPS   float64
	Burst int
	// Workers is how many PlexLinks are reconciled at a time. Checks of servers, which may be slow, use at most half of them.
	Workers int
	// Version of the operator, which plex.tv shows with the device.
	Version string
	// Namespaces are those whose PlexLinks are served; empty: all. Services are looked for in the same ones.
	Namespaces []string
	// ClusterDomain is the suffix of Service names, such as cluster.local. If it is empty, only Services that the server
	// advertises are used.
	ClusterDomain string
	// PodNetworks are networks of this cluster whose addresses go away with their Pod.
	PodNetworks []netip.Prefix
	// ServerCheckInterval is how often an address in use is checked for an answer of its server; 0 disables it.
	ServerCheckInterval time.Duration
	// Clock is the source of time.
	Clock clock.PassiveClock
	// Metrics is where the metrics are registered.
	Metrics prometheus.Registerer

	metrics   *metrics
	memory    *memory
	pace      *pace.Pace
	slow      *slots
	discovery *discovery.Finder
	servers   *servercheck.Checker
	// started is the time at which SetupWithManager was called.
	started time.Time
	// turns wakes the links whose turn for a PIN has come.
	turns chan event.GenericEvent
	// ended is closed when the operator shuts down.
	ended chan struct{}
}

// +kubebuilder:rbac:groups=plexlink.dev,resources=plexlinks,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=plexlink.dev,resources=plexlinks/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get
// +kubebuilder:rbac:groups="",resources=services,verbs=get
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=list
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconcile runs the steps for one PlexLink and writes its status once.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if err := r.startMemory(ctx); err != nil {
		return ctrl.Result{}, err
	}
	defer r.memory.saw(req.NamespacedName)
	link, err := r.readLink(ctx, req.NamespacedName)
	if err != nil {
		log.FromContext(ctx).Info("Could not read the PlexLink; retrying", "error", err.Error())
		return r.retryUnread(req.NamespacedName), nil
	}
	if e := r.memory.find(req.NamespacedName); e != nil && (link == nil || link.UID != e.uid) {
		if wait := r.endVanished(ctx, req.NamespacedName, e); wait > 0 {
			return ctrl.Result{RequeueAfter: wait}, nil
		}
	}
	if link == nil {
		return ctrl.Result{}, nil
	}
	s := r.newScope(link)
	if r.waitsForTurn(s) {
		return ctrl.Result{}, nil
	}
	if link.DeletionTimestamp != nil {
		r.end(ctx, s)
		return r.result(ctx, s), nil
	}
	r.runSteps(ctx, s)
	r.wakeFollowers(ctx, s)
	if err := r.writeStatus(ctx, s); err != nil {
		log.FromContext(ctx).Info("Could not write the status; retrying", "error", err.Error())
		s.requeue(retryInterval)
	}
	return r.result(ctx, s), nil
}

// newScope returns the scope of a new reconciliation.
func (r *Reconciler) newScope(link *v1alpha1.PlexLink) *scope {
	e := r.memory.entryOf(link)
	e.identity, e.policy = identityOf(link, r.Version), link.Spec.DeletionPolicy
	return &scope{
		link: link, name: client.ObjectKeyFromObject(link), now: r.Clock.Now(), memory: e, state: e.state, stored: e.state, device: e.device,
		lent: e.lends, leaderAccount: r.memory.lends(leaderName(link)).account,
	}
}

// runSteps runs all steps in order. The first obstacle stops it.
func (r *Reconciler) runSteps(ctx context.Context, s *scope) {
	steps := []func(context.Context, *scope) error{
		r.suspend,
		r.keepFinalizer,
		r.loadState,
		// Before anything that may be an obstacle: an entered PIN lives ten seconds, and an unused token expires.
		r.pollPIN,
		r.pingToken,
		r.checkTemplate,
		r.checkTarget,
		r.noteLinkRequest,
		r.identifyPending,
		r.signOutStray,
		r.importToken,
		r.findLeader,
		r.mintPIN,
		r.resolveServer,
		r.syncSecret,
	}
	for _, step := range steps {
		if err := step(ctx, s); err != nil {
			r.stop(ctx, s, err)
			break
		}
	}
	if s.obstacle != nil && s.obstacle.reason == v1alpha1.ReasonSuspended {
		return
	}
	// Store what a stopped step has learned.
	if err := r.save(ctx, s); err != nil && s.obstacle == nil {
		r.stop(ctx, s, err)
	}
}

// stop records why the steps stopped.
func (r *Reconciler) stop(ctx context.Context, s *scope, err error) {
	switch o, isObstacle := errors.AsType[*obstacle](err); {
	case isObstacle:
		s.obstacle = o
	case errors.Is(err, errLater), isTerminating(err): // The deletion of the PlexLink follows that of its namespace.
	default:
		log.FromContext(ctx).Info("A step failed; retrying", "error", err.Error())
		s.requeue(retryInterval)
	}
}

// suspend is an obstacle while spec.suspend is set.
func (r *Reconciler) suspend(ctx context.Context, s *scope) error {
	if !s.link.Spec.Suspend {
		return nil
	}
	r.pace.LeavePIN(s.pace())
	r.servers.Forget(s.name)
	unsaved := s.memory.unsaved
	if err := r.readState(ctx, s); err != nil {
		return err
	}
	if unsaved { // What plex.tv has issued is stored anyway.
		s.loaded = true
		if err := r.save(ctx, s); err != nil {
			return err
		}
	}
	return &obstacle{reason: v1alpha1.ReasonSuspended, message: suspendedMessage}
}

// result records what happened and decides when to reconcile again.
func (r *Reconciler) result(ctx context.Context, s *scope) ctrl.Result {
	for _, n := range s.notices {
		r.emit(ctx, s.link, n)
	}
	result, priority := ctrl.Result{}, 0
	switch {
	case s.memory.unsaved:
		s.requeue(retryInterval)
		priority = pollPriority
	case s.state.pinOpen() && s.link.DeletionTimestamp == nil && !s.link.Spec.Suspend:
		// Whatever else failed or is awaited.
		s.requeue(pollCeiling)
		priority = pollPriority
	case !r.memory.allSeen():
		// After a start all links are queued at LowPriority: those not looked at yet come before those that wait for them.
		priority = handler.LowPriority - 1
	case s.secretSynced:
		// Healthy links never delay one that a person is waiting for.
		priority = handler.LowPriority
	}
	result.RequeueAfter, result.Priority = s.requeueAfter, &priority
	return result
}

// retryUnread decides when to retry a PlexLink that could not be read.
func (r *Reconciler) retryUnread(name types.NamespacedName) ctrl.Result {
	result := ctrl.Result{RequeueAfter: retryInterval}
	if e := r.memory.find(name); e != nil && (e.unsaved || e.state.pinOpen()) {
		priority := pollPriority
		result.Priority = &priority
	}
	return result
}

// readLink reads the PlexLink from the cache, or from the API server if the cache may be behind: the first time, because a new
// process may be served an old list, and until the cache has seen our own last write. With an old version a deleted link would
// get a PIN, a Secret its former content, and a status would be written twice. Before a link is ended from memory the API
// server confirms that it is gone. It returns nil if there is no such PlexLink.
func (r *Reconciler) readLink(ctx context.Context, name types.NamespacedName) (*v1alpha1.PlexLink, error) {
	var link v1alpha1.PlexLink
	e := r.memory.find(name)
	err := r.Client.Get(ctx, name, &link)
	gone := client.IgnoreNotFound(err) == nil && err != nil
	switch {
	case err != nil && !gone:
		return nil, err
	case e == nil && gone:
		return nil, nil
	case e != nil && !gone && e.uid == link.UID && !olderThan(link.ResourceVersion, e.newest):
		return &link, nil
	}
	var live v1alpha1.PlexLink
	switch err := r.APIReader.Get(ctx, name, &live); {
	case err == nil:
		return &live, nil
	case client.IgnoreNotFound(err) != nil && e != nil && !gone && e.uid == link.UID:
		return &link, nil // The API server is unavailable: an old version is enough to poll a PIN.
	default:
		return nil, client.IgnoreNotFound(err)
	}
}

// olderThan reports whether a resource version is older than another of the same object.
func olderThan(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order < 0
}

// writeStatus writes the status, if it has changed, and records the events for the change.
func (r *Reconciler) writeStatus(ctx context.Context, s *scope) error {
	status := deriveStatus(s, r.Plex)
	if equality.Semantic.DeepEqual(status, s.link.Status) {
		return nil
	}
	// A newer link of this name, which may exist by now, must not show the PIN of this one. The API server ignores a UID in a
	// merge patch of the status.
	operations, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": s.link.UID},
		{"op": "add", "path": "/status", "value": status},
	})
	if err != nil {
		return err
	}
	after, patch := s.link.DeepCopy(), client.RawPatch(types.JSONPatchType, operations)
	if err := r.Client.Status().Patch(ctx, after, patch, client.FieldOwner(v1alpha1.ManagedBy)); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("write status: %w", err))
	}
	s.memory.newest = after.ResourceVersion
	s.notices = append(s.notices, statusNotices(s.link.Status, status)...)
	return nil
}

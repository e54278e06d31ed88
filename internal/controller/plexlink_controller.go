// Package controller keeps PlexLinks right: a PIN to enter while there is no token, then a Secret with a token and a
// proven address.
//
// Reconcile is a list of steps, each in a file of its own. The steps act and leave what they learnt in a scope; one file
// derives the status from it. All state is in the device Secret, so the operator may be killed at any instant.
package controller

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
)

// conflictInterval is how often a link looks whether a Secret that is in its way is gone. A foreign Secret is in no
// cache, so nobody tells.
const conflictInterval = 10 * time.Second

// Reconciler keeps PlexLinks right.
type Reconciler struct {
	// Client writes, and reads PlexLinks from the cache.
	Client client.Client
	// APIReader reads from the API server.
	APIReader client.Reader
	// Recorder tells events.
	Recorder events.EventRecorder
	// Plex is plex.tv.
	Plex *plex.Client
	// NewTransport makes the connections to media servers; nil roots: the public certificates.
	NewTransport func(roots *x509.CertPool) *http.Transport
	// QPS and Burst are the budget of requests to plex.tv for the whole operator.
	QPS   float64
	Burst int
	// Version of the operator, which plex.tv shows beside the device.
	Version string
	// Clock tells the time.
	Clock clock.PassiveClock
	// Metrics is where the metrics are registered.
	Metrics prometheus.Registerer

	metrics *metrics
	budget  *budget
	pins    *pinQueue
	backOff *backOff
	// devices remembers the state of each link, for those whose device Secret goes before them when a namespace is
	// deleted.
	devices sync.Map
	// finalized has the links that got their finalizer from this process.
	finalized sync.Map
	// written has the resource version of each link's last status, to notice a cache that is behind it.
	written sync.Map
	seeded  bool
	seeding sync.Mutex
}

// +kubebuilder:rbac:groups=plexlink.dev,resources=plexlinks,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=plexlink.dev,resources=plexlinks/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// SetupWithManager registers the reconciler. It watches PlexLinks, and of Secrets only the metadata of those with our
// label, so that a cluster full of other Secrets costs nothing and no token lies in the cache.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, options controller.Options) error {
	r.metrics, r.budget, r.pins, r.backOff = newMetrics(), newBudget(r.QPS, r.Burst), newPINQueue(r.QPS), newBackOff()
	if err := r.registerMetrics(mgr.Elected()); err != nil {
		return fmt.Errorf("register the metrics: %w", err)
	}
	options.RateLimiter = workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](time.Second, time.Minute)
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.PlexLink{}, builder.WithPredicates(predicate.Or(
			predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(linkOfSecret)).
		WithOptions(options).
		Complete(r)
}

// linkOfSecret finds the PlexLink by label, not by owner: an owner reference that somebody removed is put back too.
func linkOfSecret(_ context.Context, secret client.Object) []reconcile.Request {
	name := secret.GetLabels()[v1alpha1.NameLabel]
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: secret.GetNamespace(), Name: name}}}
}

// Reconcile runs the steps for one PlexLink and writes its status once.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	link, err := r.readLink(ctx, req.NamespacedName)
	if err != nil || link == nil {
		return ctrl.Result{}, err
	}
	if err := r.seedQueue(ctx); err != nil {
		return ctrl.Result{}, err
	}
	s := &scope{link: link, now: r.Clock.Now()}
	if link.DeletionTimestamp != nil {
		err := overlookForbidden(r.readDevice(ctx, s))
		if err == nil {
			err = r.delete(ctx, s)
		}
		return r.result(s, err)
	}
	err = r.runSteps(ctx, s)
	if isTerminating(err) {
		return ctrl.Result{}, nil // The deletion of the PlexLink follows.
	}
	if err == nil {
		// After an error it is not known how things are, so the status stays as it was.
		err = r.writeStatus(ctx, s)
	}
	if err == nil && s.stored.Unproven && !s.device.Unproven && s.secretInPlace {
		r.metrics.claimToSecret.Observe(r.Clock.Since(s.device.LastPing).Seconds()) // The token was seen then.
	}
	if err == nil && !link.Spec.Suspend && s.conflict == "" {
		err = r.saveDevice(ctx, s)
	}
	return r.result(s, err)
}

// runSteps is the whole story of a link.
func (r *Reconciler) runSteps(ctx context.Context, s *scope) error {
	if s.link.Spec.Suspend {
		r.pins.leave(s.link.UID)
		return r.readDevice(ctx, s)
	}
	steps := []func(context.Context, *scope) error{
		r.addFinalizer,
		r.readDevice,
		r.checkTarget,
		r.ensureDevice,
		r.authorize,
		r.resolveServer,
		r.writeSecret,
	}
	for _, step := range steps {
		if err := step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// result tells what happened, and when to come back. A link that works and only waits for its refresh must not keep one
// waiting that a person looks at.
func (r *Reconciler) result(s *scope, err error) (ctrl.Result, error) {
	for _, n := range s.notices {
		r.emit(s.link, n)
	}
	if s.device.ClientIdentifier != "" {
		r.devices.Store(s.link.UID, s.device)
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	result := ctrl.Result{RequeueAfter: s.requeueAfter}
	priority := 0
	if s.secretInPlace {
		priority = handler.LowPriority
	}
	result.Priority = &priority
	return result, nil
}

// readLink reads the PlexLink from the cache, or from the API server when the cache is behind our own last write: from
// an old status the same one would be written again. It returns nil when there is no such PlexLink.
func (r *Reconciler) readLink(ctx context.Context, name types.NamespacedName) (*v1alpha1.PlexLink, error) {
	var link v1alpha1.PlexLink
	if err := r.Client.Get(ctx, name, &link); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	if written, ok := r.written.Load(link.UID); ok && olderThan(link.ResourceVersion, written.(string)) {
		if err := r.APIReader.Get(ctx, name, &link); err != nil {
			return nil, client.IgnoreNotFound(err)
		}
	}
	return &link, nil
}

// olderThan compares two resource versions of one object; Kubernetes has promised since 1.35 that they are numbers.
func olderThan(a, b string) bool {
	x, errX := strconv.ParseUint(a, 10, 64)
	y, errY := strconv.ParseUint(b, 10, 64)
	return errX == nil && errY == nil && x < y
}

// writeStatus writes the status, if it has changed, and tells what the change means.
func (r *Reconciler) writeStatus(ctx context.Context, s *scope) error {
	status := deriveStatus(s, r.Plex)
	if equality.Semantic.DeepEqual(status, s.link.Status) {
		return nil
	}
	after := s.link.DeepCopy()
	after.Status = status
	if err := r.Client.Status().Patch(ctx, after, client.MergeFrom(s.link), client.FieldOwner(v1alpha1.ManagedBy)); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("write the status: %w", err))
	}
	r.written.Store(after.UID, after.ResourceVersion)
	s.notices = append(s.notices, statusNotices(s.link.Status, status)...)
	return nil
}

// statusNotices tells what a person should hear about a change of the status.
func statusNotices(before, after v1alpha1.PlexLinkStatus) []notice {
	var notices []notice
	if after.Server != nil && (before.Server == nil || before.Server.URI != after.Server.URI) {
		notices = append(notices, serverChosen(after.Server))
	}
	for _, conditionType := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionServerResolved} {
		old, now := meta.FindStatusCondition(before.Conditions, conditionType), meta.FindStatusCondition(after.Conditions, conditionType)
		switch {
		case now == nil || old != nil && old.Reason == now.Reason && old.Status == now.Status:
		case now.Status == metav1.ConditionFalse && isProblem(now.Reason):
			notices = append(notices, problem(now.Reason, now.Message))
		case now.Status == metav1.ConditionTrue && conditionType == v1alpha1.ConditionReady:
			notices = append(notices, notice{corev1.EventTypeNormal, now.Reason, "Reconcile", now.Message})
		}
		if now != nil && now.Status == metav1.ConditionFalse && conditionType == v1alpha1.ConditionReady {
			break // The other condition would say the same.
		}
	}
	return notices
}

// isProblem tells what is wrong from what is just not there yet.
func isProblem(reason string) bool {
	return reason != v1alpha1.ReasonAwaitingLink && reason != v1alpha1.ReasonQueued && reason != v1alpha1.ReasonSuspended
}

// seedQueue takes in the PINs that were open, and the places in the queue, before this process started.
func (r *Reconciler) seedQueue(ctx context.Context) error {
	r.seeding.Lock()
	defer r.seeding.Unlock()
	if r.seeded {
		return nil
	}
	var links v1alpha1.PlexLinkList
	if err := r.Client.List(ctx, &links); err != nil {
		return err
	}
	for _, link := range links.Items {
		switch {
		case link.DeletionTimestamp != nil || link.Spec.Suspend:
		case link.Status.PIN != nil:
			r.pins.resume(link.UID)
		case link.Status.QueuedSince != nil:
			r.pins.enqueue(link.UID, link.Status.QueuedSince.Time)
		}
	}
	r.seeded = true
	return nil
}

// forget drops everything about a link that is gone.
func (r *Reconciler) forget(link types.UID) {
	r.pins.leave(link)
	r.budget.forget(link)
	r.backOff.forget(link)
	r.devices.Delete(link)
	r.written.Delete(link)
	r.finalized.Delete(link)
}

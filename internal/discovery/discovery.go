// Package discovery finds the Services of this cluster that lead to given addresses, and which of the addresses are those of
// Pods. It only lists EndpointSlices and reads single Services.
package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"plexlink.dev/operator/internal/plex"
)

const (
	// freshFor is how long a list is used for all callers.
	freshFor = time.Minute
	// retryAfter is the time after which a failed list is retried.
	retryAfter = 10 * time.Second
	// pageSize bounds the memory for a page: a slice with ten endpoints has 3 KiB, and about 10 KiB when decoded.
	pageSize = 250
)

// Options are the settings of a [Finder].
type Options struct {
	// Reader reads from the API server, without a cache.
	Reader client.Reader
	// Namespaces to search for Services; empty stands for all.
	Namespaces []string
	Clock      clock.PassiveClock
}

// Finder finds Services. It is safe for concurrent use: simultaneous callers share one list.
type Finder struct {
	options Options

	// turn is full while a caller uses the fields below. It is not a mutex, so that the others wait only as long as their
	// contexts allow.
	turn      chan struct{}
	index     *index
	failure   error
	listed    time.Time // zero if neither an index nor a failure is known
	forbidden bool      // missing permission to list has been logged
}

// Network is what the cluster knows about some addresses.
type Network struct {
	// Services that have one of the addresses among their ready endpoints.
	Services []plex.Service
	// Pods holds those of the addresses that belong to Pods.
	Pods map[netip.Addr]bool
}

// New returns a Finder.
func New(o Options) *Finder { return &Finder{options: o, turn: make(chan struct{}, 1)} }

// Find returns what the cluster knows about the addresses, from a list that is at most a minute old. Without permission to
// list EndpointSlices the result is empty, which is logged once.
func (f *Finder) Find(ctx context.Context, addresses []netip.AddrPort) (Network, error) {
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return Network{}, fmt.Errorf("wait for the list of EndpointSlices: %w", ctx.Err())
	}
	if err := f.refresh(ctx); err != nil {
		return Network{}, err
	}
	network := Network{Pods: map[netip.Addr]bool{}}
	var wanted []backend
	for _, a := range addresses {
		wanted = append(wanted, backendOf(a))
		if _, ok := f.index.pods[a.Addr().As16()]; ok {
			network.Pods[a.Addr()] = true
		}
	}
	for key, p := range f.index.ports {
		if !slices.ContainsFunc(p.backends, func(b backend) bool { return slices.Contains(wanted, b) }) {
			continue
		}
		port, err := f.servicePort(ctx, key, p)
		if err != nil {
			return Network{}, err
		}
		if port == 0 {
			continue
		}
		service := plex.Service{Namespace: key.namespace, Name: key.service, Port: port}
		for _, b := range p.backends {
			service.Backends = append(service.Backends, b.addrPort())
		}
		network.Services = append(network.Services, service)
	}
	return network, nil
}

// refresh lists again if the list is too old, or newer than the clock, which was then set back.
func (f *Finder) refresh(ctx context.Context) error {
	now, keep := f.options.Clock.Now(), freshFor
	if f.failure != nil {
		keep = retryAfter
	}
	if age := now.Sub(f.listed); !f.listed.IsZero() && age >= 0 && age < keep {
		return f.failure
	}
	f.index, f.failure, f.listed = nil, nil, time.Time{} // Free the old index before the new one is built.
	x, err := f.list(ctx)
	switch {
	case err == nil:
		time.AfterFunc(freshFor, func() { f.drop(x) })
	case errors.Is(ctx.Err(), context.Canceled): // The caller gave up; the API server did not fail.
		return err
	}
	f.index, f.failure, f.listed = x, err, now
	return err
}

// drop frees the index: that of 5,000 Services has 5 MiB, and nothing needs it between two refreshes.
func (f *Finder) drop(x *index) {
	f.turn <- struct{}{}
	defer func() { <-f.turn }()
	if f.index == x {
		f.index, f.listed = nil, time.Time{}
	}
}

// list reads the EndpointSlices of all permitted namespaces.
func (f *Finder) list(ctx context.Context) (*index, error) {
	x := newIndex()
	namespaces := f.options.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{corev1.NamespaceAll}
	}
	var forbidden []string
	for _, namespace := range namespaces {
		err := f.listNamespace(ctx, namespace, x)
		if apierrors.IsForbidden(err) {
			forbidden = append(forbidden, cmp.Or(namespace, "all"))
		} else if err != nil {
			return nil, fmt.Errorf("list EndpointSlices: %w", err)
		}
	}
	if len(forbidden) > 0 && !f.forbidden {
		log.FromContext(ctx).Info("Services are not considered: no permission to list EndpointSlices", "namespaces", forbidden)
	}
	f.forbidden = len(forbidden) > 0
	return x, nil
}

// listNamespace reads the EndpointSlices of a namespace page by page. It sets no resource version: the first page is then the
// most recent state, which Kubernetes serves from its watch cache since 1.31, and the following pages since 1.34. Older API
// servers read pages from etcd. With resource version 0 every version would serve from the cache, but ignore the limit and
// send everything at once.
// See https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list.
func (f *Finder) listNamespace(ctx context.Context, namespace string, x *index) error {
	for next := ""; ; {
		var page discoveryv1.EndpointSliceList
		err := f.options.Reader.List(ctx, &page, client.InNamespace(namespace), client.Limit(pageSize), client.Continue(next))
		if err != nil {
			return err
		}
		for i := range page.Items {
			x.add(&page.Items[i])
		}
		if next = page.Continue; next == "" {
			return nil
		}
	}
}

// servicePort returns the port of the Service that leads to a target port, or 0. EndpointSlices hold only the target port, so
// the Service is read, once for each list. If it cannot be read, the target port is used: most Services have the same.
func (f *Finder) servicePort(ctx context.Context, key portKey, p *port) (int, error) {
	if p.service != 0 {
		return max(p.service, 0), nil
	}
	target := int(p.backends[0].port)
	var service corev1.Service
	err := f.options.Reader.Get(ctx, client.ObjectKey{Namespace: key.namespace, Name: key.service}, &service)
	switch {
	case err != nil && ctx.Err() != nil:
		return 0, fmt.Errorf("get Service %s/%s: %w", key.namespace, key.service, err)
	case apierrors.IsNotFound(err):
		p.service = -1
	case apierrors.IsForbidden(err):
		p.service = target
	case err != nil: // The next caller may succeed.
		return target, nil
	default:
		p.service = portOf(&service, key.port, target)
	}
	return max(p.service, 0), nil
}

// portOf returns the port at which a Service can be reached, or -1 if that does not lead to its endpoints.
func portOf(service *corev1.Service, name string, target int) int {
	switch {
	case service.Spec.Type == corev1.ServiceTypeExternalName:
		return -1
	case service.Spec.ClusterIP == corev1.ClusterIPNone: // Its name resolves to the endpoints themselves.
		return target
	}
	for _, p := range service.Spec.Ports {
		if p.Name == name {
			return int(p.Port)
		}
	}
	return -1
}

package discovery

import (
	"context"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var (
	start        = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	errForbidden = apierrors.NewForbidden(schema.GroupResource{Group: discoveryv1.GroupName, Resource: "endpointslices"}, "", nil)
)

// written holds the lines that were logged.
var written struct {
	sync.Mutex
	lines []string
}

func TestMain(m *testing.M) {
	ctrl.SetLogger(funcr.New(func(_, line string) {
		written.Lock()
		defer written.Unlock()
		written.lines = append(written.lines, line)
	}, funcr.Options{}))
	os.Exit(m.Run())
}

// logged returns how many lines of the log name the namespace alone.
func logged(namespace string) int {
	written.Lock()
	defer written.Unlock()
	n := 0
	for _, line := range written.lines {
		if strings.Contains(line, `no permission to list EndpointSlices" "namespaces"=["`+namespace+`"]`) {
			n++
		}
	}
	return n
}

// api answers with what is in it, one EndpointSlice per page.
type api struct {
	client.Reader
	slices    []discoveryv1.EndpointSlice
	services  map[string]corev1.Service // by name
	forbidden string                    // namespace in which nothing may be listed
	listErr   error
	getErr    error
	listing   chan chan struct{} // gets, at each list, a channel that the list then waits for; nil: none waits
	asked     func()             // is called at each request; nil: nothing
	lists     int
	gets      int
}

func (a *api) ask() {
	if a.asked != nil {
		a.asked()
	}
}

func (a *api) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	a.lists++
	a.ask()
	if a.listing != nil {
		resume := make(chan struct{})
		a.listing <- resume
		<-resume
	}
	if a.listErr != nil {
		return a.listErr
	}
	options := client.ListOptions{}
	options.ApplyOptions(opts)
	if a.forbidden != "" && options.Namespace == a.forbidden {
		return errForbidden
	}
	var matching []discoveryv1.EndpointSlice
	for _, s := range a.slices {
		if options.Namespace == "" || options.Namespace == s.Namespace {
			matching = append(matching, s)
		}
	}
	at := len(options.Continue)
	page := list.(*discoveryv1.EndpointSliceList)
	page.Items, page.Continue = nil, ""
	if at < len(matching) {
		page.Items = matching[at : at+1]
	}
	if at+1 < len(matching) {
		page.Continue = options.Continue + "."
	}
	return nil
}

func (a *api) Get(_ context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	a.gets++
	a.ask()
	if a.getErr != nil {
		return a.getErr
	}
	service, found := a.services[key.Name]
	if !found {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "services"}, key.Name)
	}
	service.DeepCopyInto(object.(*corev1.Service))
	return nil
}

func slice(namespace, service string, endpoints ...discoveryv1.Endpoint) discoveryv1.EndpointSlice {
	return discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoints,
		Ports: []discoveryv1.EndpointPort{{Name: new("pms"), Port: new(int32(32400))}, {Name: new("dlna"), Port: new(int32(1900))}},
	}
}

func endpoint(address string, change ...func(*discoveryv1.Endpoint)) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{address}}
	for _, c := range change {
		c(&e)
	}
	return e
}

func terminating(serving bool) func(*discoveryv1.Endpoint) {
	return func(e *discoveryv1.Endpoint) {
		e.Conditions = discoveryv1.EndpointConditions{Ready: new(false), Serving: &serving, Terminating: new(true)}
	}
}

func notReady(e *discoveryv1.Endpoint) { e.Conditions.Ready = new(false) }
func node(e *discoveryv1.Endpoint)     { e.TargetRef = &corev1.ObjectReference{Kind: "Node"} }
func pod(e *discoveryv1.Endpoint)      { e.TargetRef = &corev1.ObjectReference{Kind: "Pod"} }

func service(port int32, change ...func(*corev1.Service)) corev1.Service {
	s := corev1.Service{Spec: corev1.ServiceSpec{
		ClusterIP: "10.96.0.7", Ports: []corev1.ServicePort{{Name: "web", Port: 8080}, {Name: "pms", Port: port}},
	}}
	for _, c := range change {
		c(&s)
	}
	return s
}

func addresses(texts ...string) (list []netip.AddrPort) {
	for _, a := range texts {
		list = append(list, netip.MustParseAddrPort(a))
	}
	return list
}

func finder(a *api, namespaces ...string) (*Finder, *clocktesting.FakePassiveClock) {
	clock := clocktesting.NewFakePassiveClock(start)
	return New(Options{Reader: a, Namespaces: namespaces, Clock: clock}), clock
}

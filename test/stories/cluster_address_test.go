package stories

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// service creates a Service and, as the cluster's own controller does, an EndpointSlice with the addresses of its Pods.
func (w *world) service(name string, port int32, pods ...string) {
	w.Helper()
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "pms", Port: port}}},
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: name + "-x7k2p", Namespace: w.namespace, Labels: map[string]string{discoveryv1.LabelServiceName: name},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("pms"), Port: new(int32(32400))}},
		Endpoints:   podEndpoints(pods),
	}
	for _, object := range []client.Object{service, slice} {
		if err := admin.Create(w.Context(), object); err != nil {
			w.Fatal(err)
		}
	}
}

// movesTo replaces the Pods behind a Service.
func (w *world) movesTo(service string, pods ...string) {
	w.Helper()
	var slice discoveryv1.EndpointSlice
	if err := admin.Get(w.Context(), client.ObjectKey{Namespace: w.namespace, Name: service + "-x7k2p"}, &slice); err != nil {
		w.Fatal(err)
	}
	slice.Endpoints = podEndpoints(pods)
	if err := admin.Update(w.Context(), &slice); err != nil {
		w.Fatal(err)
	}
}

func podEndpoints(addresses []string) []discoveryv1.Endpoint {
	endpoints := make([]discoveryv1.Endpoint, 0, len(addresses))
	for i, address := range addresses {
		endpoints = append(endpoints, discoveryv1.Endpoint{
			Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)},
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: fmt.Sprint("plex-", i)},
		})
	}
	return endpoints
}

// plexPod makes the server a Pod that advertises its address as local, and resolves the names of the Services to it.
func (w *world) plexPod(address string, services ...string) {
	w.Helper()
	w.network.Update(func() {
		w.network.Listeners = map[string]string{address + ":32400": w.server.Addr, address + ":80": w.server.Addr}
		for _, service := range services {
			w.network.Hosts[service+"."+w.namespace+".svc.cluster.local"] = address
		}
	})
	w.server.SetConnections(plextest.LocalConnection("http://" + address + ":32400"))
}

// withoutEndpointSlices revokes the operator's permission to list EndpointSlices.
func withoutEndpointSlices(o *operator) {
	o.answer = func(req *http.Request) *http.Response {
		if strings.Contains(req.URL.Path, "endpointslices") {
			return refusal(req, http.StatusForbidden, metav1.StatusReasonForbidden, "endpointslices is forbidden")
		}
		return nil
	}
}

// urlIs waits until PLEX_URL in the Secret is want.
func (w *world) urlIs(name, want string) {
	w.Helper()
	w.eventually("the URL "+want, func() error {
		secret := w.secret(name)
		if secret == nil {
			return errNotYet
		}
		if got := string(secret.Data["PLEX_URL"]); got != want {
			return fmt.Errorf("got %s", got)
		}
		return nil
	})
}

// resolved returns the ServerResolved condition.
func (w *world) resolved(name string) metav1.Condition {
	w.Helper()
	if c := meta.FindStatusCondition(w.link(name).Status.Conditions, v1alpha1.ConditionServerResolved); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// Fault C1: the Pod's address was written, which is dead after the next update of Plex.
func TestServiceOfThePlexPodIsTheDefaultAndSurvivesThePod(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.plexPod("10.42.0.5", "plex")
	w.service("plex", 32400, "10.42.0.5")
	w.startOperator()
	link := w.linked("kometa")
	url := "http://plex." + w.namespace + ".svc.cluster.local:32400"
	w.urlIs("kometa", url)
	if got := link.Status.Server; got.URL != url || got.Location != v1alpha1.LocationCluster {
		t.Errorf("got the server %+v, want it at %s in the cluster", got, url)
	}

	before := w.secret("kometa").ResourceVersion
	w.plexPod("10.42.0.9", "plex")
	w.movesTo("plex", "10.42.0.9")
	w.refresh("kometa")
	if got := w.secret("kometa").ResourceVersion; got != before || !meta.IsStatusConditionTrue(w.link("kometa").Status.Conditions, v1alpha1.ConditionServerResolved) {
		t.Errorf("got Secret changed: %t, ServerResolved %+v, want neither changed", got != before, w.resolved("kometa"))
	}
}

func TestPortIsThatOfTheServiceNotOfThePod(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.plexPod("10.42.0.5", "plex")
	w.service("plex", 80, "10.42.0.5")
	w.startOperator()
	w.linked("kometa")
	w.urlIs("kometa", "http://plex."+w.namespace+".svc.cluster.local:80")
}

// A Service that also leads to other Pods could send the token to them.
func TestServiceWithAForeignEndpointIsNotUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.plexPod("10.42.0.5", "lure")
	w.service("lure", 32400, "10.42.0.5", "10.42.0.66")
	w.startOperator()
	w.linked("kometa")
	w.urlIs("kometa", "http://10.42.0.5:32400")
	w.hasEvent("PodAddress", "http://10.42.0.5:32400 is the address of a Pod, which ends with it: create a Service for the server, or set spec.server.url")
	if got := w.resolved("kometa").Message; !strings.Contains(got, "the address of a Pod, which ends with it: create a Service") {
		t.Errorf("got the message %q, want the advice to create a Service", got)
	}
	for _, address := range w.network.Dialed() {
		if strings.HasPrefix(address, "lure.") {
			t.Errorf("got a request to %s, want none", address)
		}
	}
}

func TestServiceThatGainsAForeignEndpointIsLeftAtTheNextRefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.plexPod("10.42.0.5", "lure", "plex")
	w.service("lure", 32400, "10.42.0.5")
	w.startOperator()
	w.linked("kometa")
	w.urlIs("kometa", "http://lure."+w.namespace+".svc.cluster.local:32400")
	w.movesTo("lure", "10.42.0.5", "10.42.0.66")
	w.service("plex", 32400, "10.42.0.5")
	w.refresh("kometa")
	w.urlIs("kometa", "http://plex."+w.namespace+".svc.cluster.local:32400")
}

func TestServiceThatAppearsReplacesTheAddressOfThePod(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.plexPod("10.42.0.5", "plex")
	w.startOperator()
	w.linked("kometa")
	w.urlIs("kometa", "http://10.42.0.5:32400")
	w.service("plex", 32400, "10.42.0.5")
	w.refresh("kometa")
	w.urlIs("kometa", "http://plex."+w.namespace+".svc.cluster.local:32400")
}

// An advertised name of a Service needs no permission to list EndpointSlices.
func TestAdvertisedServiceIsUsedForOwnedServersOnly(t *testing.T) {
	t.Parallel()
	for name, owned := range map[string]bool{"owned": true, "shared by a friend": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.plexPod("10.42.0.5", "plex")
			service := "http://plex." + w.namespace + ".svc.cluster.local:32400"
			advertised := plextest.LocalConnection(service)
			advertised.Local = false // as plex.tv does for every host name
			w.server.SetConnections(advertised)
			if !owned {
				bob := w.sim.AddAccount("bob")
				w.server.Update(func(s *plextest.Server) { s.Owner, s.SharedWith = bob, []*plextest.Account{w.alice} })
			}
			w.startOperator(withoutEndpointSlices)
			w.create("kometa", func(l *v1alpha1.PlexLink) {
				l.Spec.Server.Locations = []v1alpha1.Location{"Cluster", "Local", "Remote"}
				l.Spec.Server.Schemes = []v1alpha1.Scheme{"HTTPS", "HTTP"}
			})
			w.enterPIN("kometa")
			if owned {
				w.urlIs("kometa", service)
				return
			}
			link := w.reaches("kometa", v1alpha1.ReasonServerUnreachable)
			if dialed := w.network.Dialed(); len(dialed) != 0 {
				t.Errorf("got requests to %v, want none; the message is %q", dialed, message(link))
			}
		})
	}
}

func TestServicesOfTheLinksNamespaceComeFirst(t *testing.T) {
	t.Parallel()
	w, other := newWorld(t), newWorld(t)
	w.plexPod("10.42.0.5", "zz")
	w.network.Update(func() { w.network.Hosts["aa."+other.namespace+".svc.cluster.local"] = "10.42.0.5" })
	other.service("aa", 32400, "10.42.0.5")
	w.startOperator(func(o *operator) { o.namespaces = []string{other.namespace} })
	w.linked("kometa")
	w.urlIs("kometa", "http://aa."+other.namespace+".svc.cluster.local:32400")
	w.service("zz", 32400, "10.42.0.5")
	w.refresh("kometa")
	w.urlIs("kometa", "http://zz."+w.namespace+".svc.cluster.local:32400")
}

func TestWithoutPermissionToListServicesThePodAddressIsUsedAndLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.plexPod("10.42.0.5", "plex")
	w.service("plex", 32400, "10.42.0.5")
	w.startOperator(withoutEndpointSlices)
	w.linked("kometa")
	w.urlIs("kometa", "http://10.42.0.5:32400")
	w.refresh("kometa")
	if n := strings.Count(w.logs.String(), "permission to list EndpointSlices"); n != 1 {
		t.Errorf("got %d lines about the missing right, want one", n)
	}
}

// A friend's server can advertise the address of any Pod in this cluster, whose Service would then get a token.
func TestServiceThatLeadsToASharedServerIsNotUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.plexPod("10.42.0.5", "plex")
	w.service("plex", 32400, "10.42.0.5")
	bob := w.sim.AddAccount("bob")
	w.server.Update(func(s *plextest.Server) { s.Owner, s.SharedWith = bob, []*plextest.Account{w.alice} })
	w.startOperator()
	link := w.linked("kometa")
	if got := link.Status.Server; got.Location == v1alpha1.LocationCluster {
		t.Errorf("got the server %+v, want no Service", got)
	}
}

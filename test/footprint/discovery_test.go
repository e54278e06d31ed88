//go:build footprint

package footprint

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

const (
	foreignSlices     = 5000
	endpointsPerSlice = 10
	slicesLimit       = 20 // MiB more at the peak
	// slicesLists is how often they are listed: the garbage of one list is still in memory during the next.
	slicesLists = 3
)

func TestFootprintOfEndpointSlices(t *testing.T) {
	w := start(t)
	const own = "Server in this cluster"
	w.sim.AddServer(plextest.Server{Name: own, Owner: w.accounts[0]}) // Services are looked up for owned servers only.
	w.createLinks(1, func(_ int, link *v1alpha1.PlexLink) { link.Spec.Server.Name = own })
	linking := w.manager()
	w.enterPINs(1, 0)
	linking.stop()

	none, _ := w.peakOfLists("no EndpointSlices of others")
	w.addForeignSlices()
	all, pages := w.peakOfLists(fmt.Sprintf("%d EndpointSlices of others with %d endpoints each", foreignSlices, endpointsPerSlice))
	t.Logf("%d KiB more at the peak, %d pages", all.peak-none.peak, pages)
	if all.peak > none.peak+slicesLimit*mib {
		t.Errorf("got %d MiB more at the peak, want less than %d", (all.peak-none.peak)/mib, slicesLimit)
	}
	if pages < slicesLists*2 {
		t.Errorf("got %d pages of EndpointSlices, want all of them listed %d times in pages", pages, slicesLists)
	}
}

// peakOfLists returns the memory of a manager that looks up Services a few times, and the number of pages it reads.
func (w *world) peakOfLists(what string) (u usage, pages int) {
	w.Helper()
	before := w.listRequests("endpointslices")
	m := w.manager("--cluster-domain=cluster.local")
	defer m.stop()
	for i := range slicesLists {
		if i > 0 {
			<-time.After(time.Minute + time.Second) // A list serves for a minute.
		}
		request := fmt.Sprint(what, i)
		w.changeAll(func(link *v1alpha1.PlexLink) {
			metav1.SetMetaDataAnnotation(&link.ObjectMeta, v1alpha1.RefreshRequestedAtAnnotation, request)
		}, func(link *v1alpha1.PlexLink) bool { return link.Status.LastHandledRefreshRequest == request })
	}
	return m.report(what), w.listRequests("endpointslices") - before
}

// listRequests returns how many lists of a resource the API server has answered.
func (w *world) listRequests(resource string) int {
	w.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", w.kubeconfig)
	if err != nil {
		w.Fatal(err)
	}
	c, err := rest.HTTPClientFor(config)
	if err != nil {
		w.Fatal(err)
	}
	response, err := c.Get(config.Host + "/metrics")
	if err != nil {
		w.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		w.Fatal(response.Status, err)
	}
	total := 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "apiserver_request_total{") || !strings.Contains(line, `resource="`+resource+`"`) ||
			!strings.Contains(line, `verb="LIST"`) {
			continue
		}
		count, err := strconv.Atoi(strings.TrimSpace(line[strings.LastIndex(line, " ")+1:]))
		if err != nil {
			w.Fatal(err)
		}
		total += count
	}
	return total
}

// addForeignSlices creates EndpointSlices like those of kube-controller-manager for Services with two ports.
func (w *world) addForeignSlices() {
	w.Helper()
	w.each(foreignSlices, func(i int) error {
		return w.Create(w.Context(), foreignSlice(i))
	})
}

func foreignSlice(n int) *discoveryv1.EndpointSlice {
	service := fmt.Sprintf("service-of-others-%d", n)
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, GenerateName: service + "-",
			Labels: map[string]string{
				discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io",
				"app.kubernetes.io/name": service, "app.kubernetes.io/instance": service, "app.kubernetes.io/managed-by": "Helm",
				"app.kubernetes.io/version": "1.2.3", "helm.sh/chart": service + "-1.2.3",
			},
			Annotations: map[string]string{corev1.EndpointsLastChangeTriggerTime: "2026-01-02T12:00:00Z"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "v1", Kind: "Service", Name: service, UID: types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)),
				Controller: new(true), BlockOwnerDeletion: new(true),
			}},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{
			{Name: new("http"), Port: new(int32(8080)), Protocol: new(corev1.ProtocolTCP)},
			{Name: new("metrics"), Port: new(int32(9090)), Protocol: new(corev1.ProtocolTCP)},
		},
	}
	for e := range endpointsPerSlice {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{fmt.Sprintf("10.%d.%d.%d", 1+n>>8, n&0xff, 1+e)},
			Conditions: discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)},
			NodeName:   new(fmt.Sprintf("ip-10-0-%d-%d.eu-central-1.compute.internal", n%4, e)), Zone: new("eu-central-1a"),
			Hints: &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "eu-central-1a"}}},
			TargetRef: &corev1.ObjectReference{
				Kind: "Pod", Namespace: namespace, Name: fmt.Sprintf("%s-5d8c7b9f6d-%05d", service, e),
				UID: types.UID(fmt.Sprintf("00000000-0000-4000-9000-%06d%06d", n, e)),
			},
		})
	}
	return s
}

package discovery

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"plexlink.dev/operator/internal/plex"
)

// changedSlice returns the usual EndpointSlice with a change.
func changedSlice(change func(*discoveryv1.EndpointSlice)) discoveryv1.EndpointSlice {
	s := slice("media", "plex", endpoint("10.42.0.5"))
	change(&s)
	return s
}

// many returns an EndpointSlice with n endpoints.
func many(n int) discoveryv1.EndpointSlice {
	s := slice("media", "plex")
	for i := range n {
		s.Endpoints = append(s.Endpoints, endpoint(netip.AddrFrom4([4]byte{10, 42, 1, byte(i)}).String()))
	}
	return s
}

func TestServicesAreFoundWithAllTheirReadyEndpointsAndTheirOwnPort(t *testing.T) {
	t.Parallel()
	const at = "10.42.0.5:32400"
	one := slice("media", "plex", endpoint("10.42.0.5"))
	beside := func(e discoveryv1.Endpoint) []discoveryv1.EndpointSlice {
		return []discoveryv1.EndpointSlice{slice("media", "plex", endpoint("10.42.0.5"), e)}
	}
	var most []string
	for i := range maxBackends - 1 {
		most = append(most, fmt.Sprintf("10.42.1.%d:32400", i))
	}
	for name, row := range map[string]struct {
		slices []discoveryv1.EndpointSlice
		want   []string // backends; empty: the Service is not found
	}{
		"one":                       {[]discoveryv1.EndpointSlice{one}, []string{at}},
		"not ready":                 {[]discoveryv1.EndpointSlice{slice("media", "plex", endpoint("10.42.0.5", notReady))}, nil},
		"another beside it":         {beside(endpoint("10.42.0.6")), []string{at, "10.42.0.6:32400"}},
		"another, not ready":        {beside(endpoint("10.42.0.6", notReady)), []string{at}},
		"another, still serving":    {beside(endpoint("10.42.0.6", terminating(true))), []string{at, "10.42.0.6:32400"}},
		"another, no more serving":  {beside(endpoint("10.42.0.6", terminating(false))), []string{at}},
		"another slice":             {[]discoveryv1.EndpointSlice{one, slice("media", "plex", endpoint("10.42.0.6"))}, []string{at, "10.42.0.6:32400"}},
		"twice the same":            {[]discoveryv1.EndpointSlice{one, one}, []string{at}},
		"both families":             {[]discoveryv1.EndpointSlice{one, slice("media", "plex", endpoint("fd00::5"))}, []string{at, "[fd00::5]:32400"}},
		"mapped":                    {[]discoveryv1.EndpointSlice{slice("media", "plex", endpoint("::ffff:10.42.0.5"))}, []string{at}},
		"another address":           {[]discoveryv1.EndpointSlice{slice("media", "plex", endpoint("10.42.0.6"))}, nil},
		"another port":              {[]discoveryv1.EndpointSlice{changedSlice(func(s *discoveryv1.EndpointSlice) { s.Ports[0].Port = new(int32(32401)) })}, nil},
		"another target port":       {[]discoveryv1.EndpointSlice{one, changedSlice(func(s *discoveryv1.EndpointSlice) { s.Ports[0].Port = new(int32(32401)) })}, []string{at, "10.42.0.5:32401"}},
		"UDP":                       {[]discoveryv1.EndpointSlice{changedSlice(func(s *discoveryv1.EndpointSlice) { s.Ports[0].Protocol = new(corev1.ProtocolUDP) })}, nil},
		"all ports":                 {[]discoveryv1.EndpointSlice{changedSlice(func(s *discoveryv1.EndpointSlice) { s.Ports = []discoveryv1.EndpointPort{{}} })}, nil},
		"of no Service":             {[]discoveryv1.EndpointSlice{changedSlice(func(s *discoveryv1.EndpointSlice) { s.Labels = nil })}, nil},
		"as many as may be":         {[]discoveryv1.EndpointSlice{many(maxBackends - 1), one}, append(slices.Clone(most), at)},
		"as many, one twice":        {[]discoveryv1.EndpointSlice{many(maxBackends - 1), one, one}, append(slices.Clone(most), at)},
		"too many":                  {[]discoveryv1.EndpointSlice{many(maxBackends), one}, nil},
		"too many, the other order": {[]discoveryv1.EndpointSlice{one, many(maxBackends), one}, nil},
		"a name among addresses":    {[]discoveryv1.EndpointSlice{one, slice("media", "plex", endpoint("plex.example.com"))}, nil},
		"names beside it": {[]discoveryv1.EndpointSlice{one, changedSlice(func(s *discoveryv1.EndpointSlice) {
			s.AddressType, s.Endpoints = discoveryv1.AddressTypeFQDN, []discoveryv1.Endpoint{endpoint("plex.example.com")}
		}), one}, nil},
	} {
		f, _ := finder(&api{slices: row.slices, services: map[string]corev1.Service{"plex": service(80), "": service(80)}})
		got, err := f.Find(t.Context(), addresses(at))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var want []plex.Service
		if len(row.want) > 0 {
			want = []plex.Service{{Namespace: "media", Name: "plex", Port: 80, Backends: addresses(row.want...)}}
		}
		if diff := cmp.Diff(want, got.Services, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestPortIsThatOfTheService(t *testing.T) {
	t.Parallel()
	changed := func(change func(*corev1.Service)) api {
		return api{services: map[string]corev1.Service{"plex": service(80, change)}}
	}
	for name, row := range map[string]struct {
		api  api
		want int // 0: it is left out
	}{
		"named":                   {changed(func(*corev1.Service) {}), 80},
		"headless":                {changed(func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }), 32400},
		"a name elsewhere":        {changed(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName }), 0},
		"without that port":       {changed(func(s *corev1.Service) { s.Spec.Ports = s.Spec.Ports[:1] }), 0},
		"a Service that is gone":  {api{}, 0},
		"no right to read it":     {api{getErr: errForbidden}, 32400},
		"no answer to that alone": {api{getErr: errors.New("etcd is away")}, 32400},
	} {
		row.api.slices = []discoveryv1.EndpointSlice{slice("media", "plex", endpoint("10.42.0.5"))}
		f, _ := finder(&row.api)
		got, err := f.Find(t.Context(), addresses("10.42.0.5:32400"))
		port := 0
		if len(got.Services) > 0 {
			port = got.Services[0].Port
		}
		if err != nil || port != row.want || len(got.Services) > 1 {
			t.Errorf("%s: got port %d, %v, want %d", name, port, err, row.want)
		}
	}
}

func TestAddressesOfPodsAreRecognized(t *testing.T) {
	t.Parallel()
	f, _ := finder(&api{slices: []discoveryv1.EndpointSlice{slice("media", "plex", endpoint("10.42.0.5", pod), endpoint("10.42.0.6", pod, notReady),
		endpoint("192.168.1.100"), endpoint("192.168.1.101", node))}})
	got, err := f.Find(t.Context(), addresses("10.42.0.5:1", "10.42.0.6:32400", "192.168.1.100:32400", "192.168.1.101:32400", "10.42.0.7:32400"))
	want := map[netip.Addr]bool{netip.MustParseAddr("10.42.0.5"): true, netip.MustParseAddr("10.42.0.6"): true}
	if diff := cmp.Diff(want, got.Pods, cmpopts.EquateComparable(netip.Addr{})); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestClusterDomainIsReadFromTheSearchList(t *testing.T) {
	t.Parallel()
	for conf, want := range map[string]string{
		"search media.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n": "cluster.local",
		"nameserver 10.96.0.10\nsearch media.svc.home.example.com svc.home.example.com. home.example.com lan":      "home.example.com",
		"search lan\nnameserver 192.168.1.1\n":                             "",
		"search media.svc.old.local svc.old.local old.local\nsearch lan\n": "",
		"": "",
	} {
		if got := ClusterDomain(conf); got != want {
			t.Errorf("%q: got %q, want %q", conf, got, want)
		}
	}
}

// BenchmarkIndex measures what the index of 5,000 Services with ten endpoints each keeps in memory.
func BenchmarkIndex(b *testing.B) {
	const services, endpoints = 5000, 10
	b.ReportAllocs()
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		x := newIndex()
		for i := range services {
			s := slice("namespace-"+strconv.Itoa(i%100), "service-"+strconv.Itoa(i))
			for e := range endpoints {
				ip := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(e)})
				s.Endpoints = append(s.Endpoints, endpoint(ip.String(), pod))
			}
			x.add(&s)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(x)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB-kept")
}

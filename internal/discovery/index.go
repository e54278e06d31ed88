package discovery

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// maxBackends is how many endpoints a Service in the index may have. No media server has as many addresses, and Services
// with hundreds would fill the memory.
const maxBackends = 32

// index holds what is needed of the EndpointSlices. IPv4 addresses are stored as IPv6 ones (::ffff:10.42.0.5), which takes
// half the space of netip.AddrPort: the garbage collector lets the heap grow to twice the live data.
type index struct {
	ports map[portKey]*port
	pods  map[[16]byte]struct{}
}

// backend is an address and a port.
type backend struct {
	address [16]byte
	port    uint16
}

func backendOf(a netip.AddrPort) backend { return backend{a.Addr().As16(), a.Port()} }

func (b backend) addrPort() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(b.address).Unmap(), b.port)
}

// portKey identifies a port of a Service by its name, which is the same in its EndpointSlices.
type portKey struct{ namespace, service, port string }

// port holds the endpoints behind a port of a Service.
type port struct {
	backends []backend // those that receive traffic, of all its EndpointSlices
	unusable bool      // it has backends that are not addresses, or too many
	service  int       // the port of the Service; 0 if not known yet, -1 if none
}

func newIndex() *index {
	return &index{ports: map[portKey]*port{}, pods: map[[16]byte]struct{}{}}
}

// add adds an EndpointSlice. It belongs to the Service that its label names, even if it was written by hand; without the
// label it is ignored.
func (x *index) add(slice *discoveryv1.EndpointSlice) {
	service := slice.Labels[discoveryv1.LabelServiceName]
	if service == "" {
		return
	}
	isName := slice.AddressType == discoveryv1.AddressTypeFQDN
	addresses := make([][16]byte, 0, len(slice.Endpoints))
	for _, endpoint := range slice.Endpoints {
		for _, text := range endpoint.Addresses {
			address, err := netip.ParseAddr(text)
			if err != nil { // The API server allows names only in slices of type FQDN.
				isName = true
				continue
			}
			if endpoint.TargetRef != nil && endpoint.TargetRef.Kind == "Pod" {
				x.pods[address.As16()] = struct{}{}
			}
			if receivesTraffic(endpoint.Conditions) {
				addresses = append(addresses, address.As16())
			}
		}
	}
	for _, p := range slice.Ports {
		if p.Port == nil || p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP {
			continue
		}
		key := portKey{namespace: slice.Namespace, service: service}
		if p.Name != nil {
			key.port = *p.Name
		}
		if x.ports[key] == nil {
			x.ports[key] = &port{}
		}
		x.ports[key].add(addresses, uint16(*p.Port), isName)
	}
}

// add adds backends. A port that has become unusable stays so, whatever the other EndpointSlices hold.
func (p *port) add(addresses [][16]byte, target uint16, unusable bool) {
	p.unusable = p.unusable || unusable || len(addresses) > maxBackends
	if !p.unusable {
		p.backends = slices.Grow(p.backends, len(addresses))
		for _, a := range addresses {
			if b := (backend{a, target}); !slices.Contains(p.backends, b) {
				p.backends = append(p.backends, b)
			}
		}
		p.unusable = len(p.backends) > maxBackends
	}
	if p.unusable {
		p.backends = nil
	}
}

// receivesTraffic reports whether a Service may send requests to an endpoint: to a ready one, but also to one that is
// terminating and still serves, where its node (internalTrafficPolicy: Local) or its IP family has no ready one.
func receivesTraffic(c discoveryv1.EndpointConditions) bool {
	if c.Ready == nil || *c.Ready {
		return true
	}
	return c.Terminating != nil && *c.Terminating && (c.Serving == nil || *c.Serving)
}

package controller

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
)

// findAddress returns the server with the address to use: the best-ranked one that can be verified, the one in use among
// equals. The error is an *unprovenError if none can be verified, and a *doubtError if only a worse one can.
func (r *Reconciler) findAddress(ctx context.Context, s *scope, chosen plex.Server, current server, up bool) (server, error) {
	spec := s.link.Spec.Server
	if current.MachineIdentifier != chosen.MachineIdentifier {
		current = server{}
	}
	unproven := &unprovenError{server: chosen}
	if chosen.AccessToken == "" {
		return server{}, unproven
	}
	var candidates []plex.Candidate
	var err error
	if candidates, unproven.omitted, err = r.candidates(ctx, s, chosen, current); err != nil {
		return server{}, err
	}
	if len(candidates) == 0 {
		return server{}, unproven
	}
	found := server{
		Name: chosen.Name, MachineIdentifier: chosen.MachineIdentifier, Version: chosen.Version, Owned: chosen.Owned, Owner: chosen.Owner,
	}
	if spec.Verification == v1alpha1.VerificationSkip {
		return found.at(candidates[0]), nil
	}
	trusted, err := r.trustedRoots(ctx, s.link)
	if err != nil {
		return server{}, err
	}
	if watched := r.servers.Target(s.name); watched.CA != trusted.id && watched.URL != "" {
		watched.CA = trusted.id // The certificates to trust may have changed.
		r.servers.Watch(s.name, watched, trusted.roots)
	}
	transport := r.NewTransport(trusted.roots)
	defer transport.CloseIdleConnections()
	prober := plex.Prober{Transport: transport}
	proof := prober.Prove(ctx, s.plexDevice(), chosen, candidates)
	if proof.Chosen == nil && errors.Is(ctx.Err(), context.Canceled) {
		return server{}, errLater // The operator ends, which says nothing about the server.
	}
	logOutcomes(ctx, proof)
	unproven.outcomes = proof.Outcomes
	switch {
	case proof.Chosen == nil:
		return server{}, unproven
	case up && s.state.untilMoved(s.now) > 0 && isDoubtful(current, proof):
		s.state = s.state.addressDoubted(s.now)
		return server{}, &doubtError{chosen, current.URL, proof.Chosen.URL}
	}
	found = found.at(*proof.Chosen)
	found.Open = proof.Open
	found.Version = cmp.Or(proof.Version, found.Version)
	return found, nil
}

// logOutcomes logs the outcome for each address, which the status must not reveal.
func logOutcomes(ctx context.Context, proof plex.Proof) {
	level := 1
	if proof.Chosen == nil {
		level = 0
	}
	for _, o := range proof.Outcomes {
		log.FromContext(ctx).V(level).Info("Probed an address", "url", o.Candidate.URL, "verdict", o.Verdict, "detail", o.Err)
	}
}

// isDoubtful reports whether the address in use failed to answer while a worse one was verified.
func isDoubtful(current server, proof plex.Proof) bool {
	i := slices.IndexFunc(proof.Outcomes, func(o plex.Outcome) bool { return o.Candidate.URL == current.URL })
	return i >= 0 && proof.Outcomes[i].Verdict == plex.Unreachable && proof.Chosen.Tier > proof.Outcomes[i].Candidate.Tier
}

// at returns the server with its address.
func (f server) at(address plex.Candidate) server {
	f.URL, f.Location, f.Pod = address.URL, address.Location, address.Pod
	return f
}

// candidates returns the addresses that the spec allows, best first. They include a local address in use that is no longer
// advertised: that alone is no reason to move a working link.
func (r *Reconciler) candidates(ctx context.Context, s *scope, chosen plex.Server, current server) ([]plex.Candidate, plex.Omitted, error) {
	spec := s.link.Spec.Server
	if spec.URL != "" {
		return []plex.Candidate{{URL: strings.TrimRight(spec.URL, "/")}}, plex.Omitted{}, nil
	}
	p := plex.Preferences{InUse: current.URL, Namespace: s.name.Namespace, ClusterDomain: r.ClusterDomain}
	for _, l := range locationsOf(spec) {
		p.Locations = append(p.Locations, plex.Location(l))
	}
	for _, scheme := range spec.Schemes {
		p.Schemes = append(p.Schemes, strings.ToLower(string(scheme)))
	}
	if chosen.Owned && (slices.Contains(p.Locations, plex.Cluster) || slices.Contains(p.Locations, plex.Local)) {
		network, err := r.discovery.Find(ctx, chosen.Addresses())
		switch {
		case err != nil && current.Location == plex.Cluster:
			return nil, plex.Omitted{}, &discoveryError{err}
		case err != nil:
			log.FromContext(ctx).Info("Could not look for Services that lead to the server", "error", err.Error())
		}
		p.Services = network.Services
		p.IsPod = func(a netip.Addr) bool {
			return network.Pods[a] || slices.ContainsFunc(r.PodNetworks, func(n netip.Prefix) bool { return n.Contains(a) })
		}
	}
	if current.Location == plex.Local && !current.Pod {
		chosen.Connections = append(slices.Clone(chosen.Connections), plex.Connection{URI: current.URL, Local: true})
	}
	list, omitted := plex.Candidates(chosen, p)
	return list, omitted, nil
}

// locationsOf returns spec.server.locations, or its default.
func locationsOf(spec v1alpha1.ServerSpec) []v1alpha1.Location {
	if len(spec.Locations) > 0 {
		return spec.Locations
	}
	return []v1alpha1.Location{v1alpha1.LocationCluster, v1alpha1.LocationLocal}
}

// unprovenError means that no address of the server could be verified.
type unprovenError struct {
	server   plex.Server
	outcomes []plex.Outcome // none: it advertises no address of the kinds that may be used
	omitted  plex.Omitted
}

// Error reveals no more about an address than a status may.
func (e *unprovenError) Error() string { return "no address of " + clip(e.server.Name) + " is proven" }

// noToken reports whether plex.tv gives the account no token for the server.
func (e *unprovenError) noToken() bool { return e.server.AccessToken == "" }

// refused reports whether there is no token, or the server was reached and rejected it.
func (e *unprovenError) refused() bool {
	return e.noToken() || slices.ContainsFunc(e.outcomes, func(o plex.Outcome) bool { return o.Verdict == plex.TokenRefused })
}

// doubtError means that the address in use did not answer one check, while a worse one was verified.
type doubtError struct {
	server       plex.Server
	inUse, worse string
}

// Error names the address.
func (e *doubtError) Error() string {
	return fmt.Sprintf("%s does not answer at %s", clip(e.server.Name), clip(e.inUse))
}

// discoveryError means that the Services of the cluster could not be listed while one of them is in use.
type discoveryError struct{ cause error }

// Error names the cause.
func (e *discoveryError) Error() string { return "find Services: " + e.cause.Error() }

// trust holds the certificates to trust besides the public ones. The zero value adds none.
type trust struct {
	roots *x509.CertPool
	id    string
}

// caError explains why the certificates of spec.server.caProvider cannot be used, and what to do.
type caError struct{ message string }

func (e *caError) Error() string { return e.message }

// trustedRoots returns the public certificates and those of spec.server.caProvider.
func (r *Reconciler) trustedRoots(ctx context.Context, link *v1alpha1.PlexLink) (trust, error) {
	provider := link.Spec.Server.CAProvider
	if provider == nil {
		return trust{}, nil
	}
	key := provider.Key
	if key == "" {
		key = "ca.crt"
	}
	name := types.NamespacedName{Namespace: link.Namespace, Name: provider.Name}
	var secret corev1.Secret
	var configMap corev1.ConfigMap
	var object client.Object = &secret
	if provider.Type == v1alpha1.CAProviderConfigMap {
		object = &configMap
	}
	if err := r.APIReader.Get(ctx, name, object); apierrors.IsNotFound(err) {
		return trust{}, &caError{fmt.Sprintf("%s %s of spec.server.caProvider does not exist; create it with the key %s",
			provider.Type, provider.Name, key)}
	} else if err != nil {
		return trust{}, &caError{fmt.Sprintf("Could not read %s %s of spec.server.caProvider: %s", provider.Type, provider.Name, apiMessage(err))}
	}
	pem := secret.Data[key]
	if provider.Type == v1alpha1.CAProviderConfigMap {
		pem = []byte(configMap.Data[key])
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return trust{}, fmt.Errorf("read the public certificates: %w", err)
	}
	if !roots.AppendCertsFromPEM(pem) {
		return trust{}, &caError{fmt.Sprintf("%s %s of spec.server.caProvider has no certificate in PEM form under the key %s; put it there",
			provider.Type, provider.Name, key)}
	}
	return trust{roots, shortHash(pem)}, nil
}

package controller

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
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

// findAddress returns the server with the address to use. The error is an *unprovenError when none is proven.
func (r *Reconciler) findAddress(ctx context.Context, s *scope, chosen plex.Server, current server) (server, error) {
	spec := s.link.Spec.Server
	candidates := addressesOf(chosen, spec)
	if len(candidates) == 0 {
		return server{}, &unprovenError{server: chosen.Name, shared: !chosen.Owned}
	}
	found := server{
		Name: chosen.Name, MachineIdentifier: chosen.MachineIdentifier, Version: chosen.Version, Owned: chosen.Owned, Owner: chosen.Owner,
	}
	if spec.Verification == v1alpha1.VerificationSkip {
		best := candidates[0]
		if inUse := (plex.Candidate{URL: current.URL, Location: current.Location}); slices.Contains(candidates, inUse) {
			best = inUse
		}
		return found.at(best, ""), nil
	}
	roots, err := r.trustedRoots(ctx, s.link)
	if err != nil {
		return server{}, err
	}
	transport := r.NewTransport(roots)
	defer transport.CloseIdleConnections()
	prober, d := plex.Prober{Transport: transport}, s.plexDevice()
	if current.MachineIdentifier == chosen.MachineIdentifier {
		inUse := []plex.Candidate{{URL: current.URL, Location: current.Location}}
		if proof := prober.Prove(ctx, d, chosen, inUse); proof.Chosen != nil {
			return found.at(*proof.Chosen, proof.Version), nil
		}
	}
	proof := prober.Prove(ctx, d, chosen, candidates)
	if proof.Chosen == nil && errors.Is(ctx.Err(), context.Canceled) {
		return server{}, errLater // The operator ends, which says nothing about the server.
	}
	level := 1
	if proof.Chosen == nil {
		level = 0 // The status may not tell the detail.
	}
	for _, o := range proof.Outcomes {
		log.FromContext(ctx).V(level).Info("Probed an address", "url", o.Candidate.URL, "verdict", o.Verdict, "detail", o.Err)
	}
	if proof.Chosen == nil {
		return server{}, &unprovenError{server: chosen.Name, shared: !chosen.Owned, outcomes: proof.Outcomes}
	}
	return found.at(*proof.Chosen, proof.Version), nil
}

// at returns the server with its address; version is what the server itself says, if it was asked.
func (f server) at(address plex.Candidate, version string) server {
	f.URL, f.Location = address.URL, address.Location
	if version != "" {
		f.Version = version
	}
	return f
}

// addressesOf lists the addresses that the spec allows, best first.
func addressesOf(chosen plex.Server, spec v1alpha1.ServerSpec) []plex.Candidate {
	if spec.URL != "" {
		return []plex.Candidate{{URL: strings.TrimRight(spec.URL, "/")}}
	}
	var p plex.Preferences
	for _, l := range spec.Locations {
		p.Locations = append(p.Locations, plex.Location(l))
	}
	for _, scheme := range spec.Schemes {
		p.Schemes = append(p.Schemes, strings.ToLower(string(scheme)))
	}
	return plex.Candidates(chosen, p)
}

// unprovenError says that no address of the server is proven.
type unprovenError struct {
	server   string
	shared   bool
	noToken  bool           // plex.tv gives the account no token for it
	outcomes []plex.Outcome // none: it advertises no address of the kinds that may be used
}

// Error tells no more of an address than a status may.
func (e *unprovenError) Error() string { return "no address of " + e.server + " is proven" }

// caError says why the certificates of spec.server.caProvider cannot be used, and what to do.
type caError struct{ message string }

func (e *caError) Error() string { return e.message }

// trustedRoots returns the public certificates and those of spec.server.caProvider; nil: the public ones only.
func (r *Reconciler) trustedRoots(ctx context.Context, link *v1alpha1.PlexLink) (*x509.CertPool, error) {
	provider := link.Spec.Server.CAProvider
	if provider == nil {
		return nil, nil
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
		return nil, &caError{fmt.Sprintf("%s %s of spec.server.caProvider does not exist; create it with the key %s",
			provider.Type, provider.Name, key)}
	} else if err != nil {
		return nil, &caError{fmt.Sprintf("Could not read %s %s of spec.server.caProvider: %s", provider.Type, provider.Name, apiMessage(err))}
	}
	pem := secret.Data[key]
	if provider.Type == v1alpha1.CAProviderConfigMap {
		pem = []byte(configMap.Data[key])
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the public certificates: %w", err)
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, &caError{fmt.Sprintf("%s %s of spec.server.caProvider has no certificate in PEM form under the key %s; put it there",
			provider.Type, provider.Name, key)}
	}
	return roots, nil
}

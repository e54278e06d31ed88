package controller

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
)

const (
	// defaultRefreshInterval is that of a link that sets none.
	defaultRefreshInterval = time.Hour
	// serverRetryLimit bounds the back-off of a link without a proven address: a server takes minutes to start.
	serverRetryLimit = 5 * time.Minute
)

// resolveServer chooses the server and proves an address of it: for a new token, for a changed spec.server, and when a
// refresh is due. The request for the account's servers proves the token too.
func (r *Reconciler) resolveServer(ctx context.Context, s *scope) error {
	if !s.authorized() || s.conflict != "" {
		return nil
	}
	spec := serverSpecKey(s.link.Spec.Server)
	settled := s.settled() && !s.device.Server.Recheck
	if settled {
		if wait := untilRefresh(s.link, s.now); wait > 0 {
			s.requeue(wait)
			return nil
		}
	}
	attempt := "server " + spec
	if wait := r.backOff.remaining(s, attempt); wait > 0 {
		s.requeue(wait)
		return nil
	}
	err := r.resolve(ctx, s, spec)
	switch {
	case isNotYet(err):
		return nil
	case errors.Is(err, plex.ErrTokenInvalid):
		return r.revoked(ctx, s)
	}
	s.resolved, s.serverErr = true, err
	if err != nil {
		log.FromContext(ctx).Info("No address of a server is proven", "error", err.Error())
		if current := s.device.Server; current != nil && current.Spec != spec && !current.Recheck {
			again := *current
			again.Recheck = true
			s.device.Server = &again
		}
		limit := serverRetryLimit
		if settled { // A link that works asks plex.tv no more often than it would anyway.
			limit = refreshInterval(s.link)
		}
		s.requeue(r.backOff.next(s, attempt, limit))
		return nil
	}
	r.backOff.reset(s, attempt)
	s.requeue(untilRefreshFrom(s.link, s.now, s.now))
	return nil
}

// resolve asks plex.tv for the account's servers, chooses one, and takes the address that is in use if it still
// verifies, else the best-ranked that does.
func (r *Reconciler) resolve(ctx context.Context, s *scope, spec string) error {
	d := s.plexDevice(r.Version)
	// Before the servers, so that a budget that ends between the two repeats neither.
	if err := r.readAccount(ctx, s, d); err != nil {
		return err
	}
	servers, err := ask(ctx, r, s, s.urgency(), "resources", func(ctx context.Context) ([]plex.Server, error) {
		return r.Plex.Resources(ctx, d, s.device.Token)
	})
	if err != nil {
		return err
	}
	s.servers = append([]plex.Server{}, servers...) // No servers are news too.
	current := s.device.Server
	if current != nil && current.Spec != spec {
		current = nil
	}
	chosen, err := chooseServer(servers, s.link.Spec.Server, current)
	if err != nil {
		return err
	}
	if chosen.AccessToken == "" {
		return &unprovenError{server: chosen.Name, noToken: true}
	}
	found, err := r.findAddress(ctx, s, d, chosen, current)
	if err != nil {
		return err
	}
	found.Spec = spec
	s.device.Server, s.device.ServerToken, s.device.Unproven = found, chosen.AccessToken, false
	return nil
}

// readAccount asks whose account it is, once. A failure waits for the next refresh, unless the Secret needs the answer.
func (r *Reconciler) readAccount(ctx context.Context, s *scope, d plex.Device) error {
	if s.device.Account != (plex.Account{}) {
		return nil
	}
	account, err := ask(ctx, r, s, s.urgency(), "user", func(ctx context.Context) (plex.Account, error) {
		return r.Plex.Account(ctx, d, s.device.Token)
	})
	if err != nil {
		if isNotYet(err) || errors.Is(err, plex.ErrTokenInvalid) || templateUsesAccount(s.link.Spec.Secret.Template) {
			return err
		}
		log.FromContext(ctx).Info("plex.tv did not say whose account it is and will be asked again", "error", err.Error())
		return nil
	}
	s.device.Account = account
	return nil
}

// chooseServer keeps the server in use while nothing in the spec has changed and the account still has it: a second
// server, or a new name, is no reason to break a link that works.
func chooseServer(servers []plex.Server, spec v1alpha1.ServerSpec, current *server) (plex.Server, error) {
	if current != nil {
		kept := slices.IndexFunc(servers, func(s plex.Server) bool { return s.MachineIdentifier == current.MachineIdentifier })
		if kept >= 0 {
			return servers[kept], nil
		}
	}
	return plex.SelectServer(servers, plex.Selector{Name: spec.Name, MachineIdentifier: spec.MachineIdentifier})
}

// findAddress returns the server with the address to use. The error is an *unprovenError when none is proven.
func (r *Reconciler) findAddress(ctx context.Context, s *scope, d plex.Device, chosen plex.Server, current *server) (*server, error) {
	spec := s.link.Spec.Server
	candidates := addressesOf(chosen, spec)
	if len(candidates) == 0 {
		return nil, &unprovenError{server: chosen.Name, shared: !chosen.Owned}
	}
	found := &server{
		Name: chosen.Name, MachineIdentifier: chosen.MachineIdentifier, Version: chosen.Version, Owned: chosen.Owned,
	}
	if spec.Verification == v1alpha1.VerificationSkip {
		found.URL, found.Location = candidates[0].URL, candidates[0].Location
		if current != nil && slices.Contains(candidates, plex.Candidate{URL: current.URL, Location: current.Location}) {
			found.URL, found.Location = current.URL, current.Location
		}
		return found, nil
	}
	roots, err := r.trustedRoots(ctx, s.link)
	if err != nil {
		return nil, err
	}
	transport := r.NewTransport(roots)
	defer transport.CloseIdleConnections()
	prober := plex.Prober{Transport: transport}
	if current != nil && current.MachineIdentifier == chosen.MachineIdentifier {
		kept := []plex.Candidate{{URL: current.URL, Location: current.Location}}
		if proof := prober.Prove(ctx, d, chosen, kept); proof.Chosen != nil {
			return found.at(proof), nil
		}
	}
	proof := prober.Prove(ctx, d, chosen, candidates)
	level := 1
	if proof.Chosen == nil {
		level = 0 // The status may not tell the detail.
	}
	for _, o := range proof.Outcomes {
		log.FromContext(ctx).V(level).Info("Probed an address", "url", o.Candidate.URL, "verdict", o.Verdict, "detail", o.Err)
	}
	if proof.Chosen == nil {
		return nil, &unprovenError{server: chosen.Name, shared: !chosen.Owned, outcomes: proof.Outcomes}
	}
	return found.at(proof), nil
}

// at is the server at its proven address.
func (f *server) at(proof plex.Proof) *server {
	f.URL, f.Location = proof.Chosen.URL, proof.Chosen.Location
	if proof.Version != "" {
		f.Version = proof.Version
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
		p.Schemes = append(p.Schemes, string(scheme))
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
		return nil, &caError{fmt.Sprintf("the %s %s of spec.server.caProvider does not exist: create it with the key %s",
			provider.Type, provider.Name, key)}
	} else if err != nil {
		return nil, fmt.Errorf("read the certificates of spec.server.caProvider: %w", err)
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
		return nil, &caError{fmt.Sprintf("the %s %s has no certificate in PEM form under the key %s: put it there",
			provider.Type, provider.Name, key)}
	}
	return roots, nil
}

// serverSpecKey identifies what spec.server asks for.
func serverSpecKey(spec v1alpha1.ServerSpec) string {
	key, err := json.Marshal(spec)
	if err != nil {
		panic(err) // strings and lists of them always encode
	}
	return string(key)
}

// refreshInterval of a link, at least a minute.
func refreshInterval(link *v1alpha1.PlexLink) time.Duration {
	if link.Spec.RefreshInterval == nil {
		return defaultRefreshInterval
	}
	return max(link.Spec.RefreshInterval.Duration, time.Minute)
}

// untilRefresh returns how long the next refresh has to wait.
func untilRefresh(link *v1alpha1.PlexLink, now time.Time) time.Duration {
	if link.Status.LastRefreshTime == nil {
		return 0
	}
	return untilRefreshFrom(link, link.Status.LastRefreshTime.Time, now)
}

// untilRefreshFrom spreads refreshes by 10 percent either way. The spread is made of the link and the time of the last
// refresh, so that it is the same after a restart and differs between links and from one refresh to the next.
func untilRefreshFrom(link *v1alpha1.PlexLink, last, now time.Time) time.Duration {
	hash := fnv.New32a()
	_, _ = fmt.Fprint(hash, link.UID, last.Unix())
	spread := float64(hash.Sum32()%2001)/10000 - 0.1
	interval := time.Duration(float64(refreshInterval(link)) * (1 + spread))
	// A clock that was set back must not put the refresh off for ever.
	return min(last.Add(interval).Sub(now), interval)
}

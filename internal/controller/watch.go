package controller

import (
	"context"
	"crypto/x509"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
	"plexlink.dev/operator/internal/servercheck"
)

// watchAddress has the address in use checked between refreshes. It returns whether the address answers and how often that
// has changed; without an address in use, true.
func (r *Reconciler) watchAddress(ctx context.Context, s *scope) (up bool, changes int) {
	sv, target := s.state.Server, r.servers.Target(s.name)
	if !s.settled() || s.link.Spec.Server.Verification == v1alpha1.VerificationSkip {
		r.servers.Forget(s.name)
		return true, s.memory.changes
	}
	if target.URL != sv.URL || target.MachineIdentifier != sv.MachineIdentifier {
		trusted, err := r.trustedRoots(ctx, s.link)
		if err != nil {
			return true, s.memory.changes // The next refresh checks it.
		}
		target = servercheck.Target{URL: sv.URL, MachineIdentifier: sv.MachineIdentifier, CA: trusted.id}
		r.servers.Watch(s.name, target, trusted.roots)
		_, s.memory.changes = r.servers.State(target)
	}
	return r.servers.State(target)
}

// reach checks whether the server at an address in use still answers.
func (r *Reconciler) reach(ctx context.Context, t servercheck.Target, roots *x509.CertPool) plex.Verdict {
	transport := r.NewTransport(roots)
	defer transport.CloseIdleConnections()
	prober := plex.Prober{Transport: transport}
	return prober.Reach(ctx, plex.Device{Version: r.Version}, t.URL, t.MachineIdentifier)
}

// serverChanged requeues the links of a server that stopped or resumed answering.
func (r *Reconciler) serverChanged(links []types.NamespacedName, t servercheck.Target, up bool) {
	ctrl.Log.Info("A server in use stopped or resumed answering", "url", t.URL, "answers", up, "plexlinks", len(links))
	for _, name := range links {
		r.Wake(name)
	}
}

package controller

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
)

var update = flag.Bool("update", false, "Write the statuses that the health checks of GitOps tools are tried on.")

// The health checks of docs/gitops.md are tried on these; that test cannot reach what derives them.
func TestStatusesForHealthChecksAreThoseDerived(t *testing.T) {
	t.Parallel()
	pin := func(s *scope) {
		s.device.Token, s.device.Server, s.secretInPlace = "", nil, false
		s.device.PINID, s.device.PIN = "1", &openPIN{Code: "ABCD", ExpiresAt: start.Add(15 * time.Minute)}
	}
	fresh := func(s *scope) { s.device, s.secretInPlace = device{ClientIdentifier: "example"}, false }
	links := map[string]v1alpha1.PlexLink{
		"not seen by the operator": {
			ObjectMeta: metav1.ObjectMeta{Name: "kometa", Namespace: "media", Generation: 1},
			Status:     v1alpha1.PlexLinkStatus{ObservedGeneration: -1},
		},
	}
	for name, change := range map[string]func(*scope){
		"linked":                     func(*scope) {},
		"linked, plex.tv is down":    func(s *scope) { s.resolved, s.serverErr = true, plex.ErrUnavailable },
		"linked, to be linked again": func(s *scope) { s.device.Relink, s.device.PIN = true, &openPIN{Code: "ABCD", ExpiresAt: start} },
		"a PIN is open":              pin,
		"a PIN is being requested":   fresh,
		"in the queue":               func(s *scope) { fresh(s); s.place = 7 },
		"the token is revoked, a PIN is open": func(s *scope) {
			pin(s)
			s.device.Token, s.device.TokenRevoked = "example", true
		},
		"the server is being looked for": func(s *scope) { s.device.Server, s.secretInPlace = nil, false },
		"nobody entered a PIN":           func(s *scope) { fresh(s); s.device.Unentered = maxUnentered },
		"plex.tv gives no PIN":           func(s *scope) { fresh(s); s.plexErr = plex.ErrUnavailable },
		"several servers fit": func(s *scope) {
			s.resolved, s.device.Server, s.secretInPlace = true, nil, false
			s.serverErr = &plex.ServerAmbiguousError{Servers: []plex.Server{{Name: "Attic"}, {Name: "Cellar"}}}
		},
		"the server does not answer": func(s *scope) {
			s.resolved, s.device.Server, s.secretInPlace = true, nil, false
			s.serverErr = &unprovenError{server: "My Plex Server"}
		},
		"a Secret is in the way": func(s *scope) { s.conflict, s.secretInPlace = "kometa", false },
		"suspended":              func(s *scope) { s.link.Spec.Suspend = true },
	} {
		s := linkedScope()
		change(s)
		s.link.Status = deriveStatus(s, pages{})
		for i := range s.link.Status.Conditions {
			s.link.Status.Conditions[i].LastTransitionTime = metav1.NewTime(start)
		}
		links[name] = *s.link
	}

	got, err := yaml.Marshal(links)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("..", "..", "test", "install", "testdata", "statuses.yaml")
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("the file differs from what is derived, write it anew with -update:\n%s", diff)
	}
}

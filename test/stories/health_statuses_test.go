package stories

import (
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

var update = flag.Bool("update", false, "write the statuses that the health checks of GitOps tools are tested with")

// healthSituations produce the statuses that a PlexLink named kometa can have for a GitOps tool.
var healthSituations = map[string]func(*world){
	"not seen by the operator": func(w *world) { w.create("kometa") },
	"linked":                   func(w *world) { w.startOperator(); w.linked("kometa") },
	"linked, plex.tv is down": func(w *world) {
		w.startOperator()
		w.linked("kometa")
		w.sim.Fault(plextest.Fault{Endpoint: plextest.Resources, Status: http.StatusServiceUnavailable, Times: -1})
		w.request("kometa", v1alpha1.RefreshRequestedAtAnnotation)
		w.eventually("the failed check", func() error {
			if !meta.IsStatusConditionFalse(w.link("kometa").Status.Conditions, v1alpha1.ConditionServerResolved) {
				return errNotYet
			}
			return nil
		})
	},
	"linked, to be linked again": func(w *world) {
		w.startOperator()
		w.linked("kometa")
		w.request("kometa", v1alpha1.LinkRequestedAtAnnotation)
		w.showsPIN("kometa")
	},
	"a PIN is open": func(w *world) {
		w.startOperator()
		w.create("kometa")
		w.showsPIN("kometa")
	},
	"a PIN is being requested": func(w *world) {
		w.startOperator(withQPS(0.01, 1)) // One request in 100 seconds, which the other link uses.
		w.sim.Fault(plextest.Fault{Endpoint: plextest.CreatePIN, Status: http.StatusServiceUnavailable})
		w.create("other")
		w.reaches("other", v1alpha1.ReasonPlexUnavailable)
		w.create("kometa")
		w.reaches("kometa", v1alpha1.ReasonAwaitingLink)
	},
	"in the queue": func(w *world) {
		w.startOperator(withQPS(0.5, 10)) // one open PIN
		w.create("other")
		w.showsPIN("other")
		w.create("kometa")
		w.reaches("kometa", v1alpha1.ReasonQueued)
	},
	"the other link is not linked": func(w *world) {
		w.startOperator()
		w.create("other", allowsLinkRefs)
		w.create("kometa", refersTo("other"))
		w.reaches("kometa", v1alpha1.ReasonAwaitingAccount)
	},
	"the token is revoked, a PIN is open": func(w *world) {
		w.startOperator()
		w.linked("kometa")
		w.ignoreToken(w.accountToken("kometa"), "alice revokes it, and the new PIN is not entered")
		w.sim.RevokeTokens(w.alice)
		w.request("kometa", v1alpha1.RefreshRequestedAtAnnotation)
		w.reaches("kometa", v1alpha1.ReasonTokenRevoked)
		w.showsPIN("kometa")
	},
	"the server is being resolved": func(w *world) {
		w.startOperator()
		w.create("kometa")
		w.sim.Fault(plextest.Fault{
			Endpoint: plextest.User, Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"3600"}},
		})
		w.enterPIN("kometa")
		w.eventually("the token", func() error {
			if link := w.link("kometa"); !meta.IsStatusConditionTrue(link.Status.Conditions, v1alpha1.ConditionAuthorized) {
				return errNotYet
			}
			return nil
		})
	},
	"no PIN was entered in time": func(w *world) {
		w.startOperator()
		w.create("kometa")
		w.letPINsExpire("kometa")
		w.reaches("kometa", v1alpha1.ReasonPINExpired)
	},
	"plex.tv gives no PIN": func(w *world) {
		w.startOperator()
		w.sim.Fault(plextest.Fault{Endpoint: plextest.CreatePIN, Status: http.StatusServiceUnavailable, Times: -1})
		w.create("kometa")
		w.reaches("kometa", v1alpha1.ReasonPlexUnavailable)
	},
	"several servers match": func(w *world) {
		w.startOperator()
		w.sim.AddServer(plextest.Server{Name: "Attic", MachineIdentifier: "attic-id", Owner: w.alice})
		w.create("kometa")
		w.enterPIN("kometa")
		w.reaches("kometa", v1alpha1.ReasonServerAmbiguous)
	},
	"the server does not answer": func(w *world) {
		w.startOperator()
		w.server.Stop()
		w.create("kometa")
		w.enterPIN("kometa")
		w.reaches("kometa", v1alpha1.ReasonServerUnreachable)
	},
	"a Secret is in the way": func(w *world) {
		w.startOperator()
		foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "kometa", Namespace: w.namespace}}
		if err := admin.Create(w.Context(), foreign, client.FieldOwner("kubectl")); err != nil {
			w.Fatal(err)
		}
		w.create("kometa")
		w.reaches("kometa", v1alpha1.ReasonSecretConflict)
	},
	"suspended": func(w *world) {
		w.startOperator()
		w.linked("kometa")
		w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Suspend = true })
		w.reaches("kometa", v1alpha1.ReasonSuspended)
	},
}

// test/install applies the health checks of docs/argocd.md and docs/flux.md to these statuses; it has no operator.
func TestStatusesForHealthChecksAreThoseOfAnOperator(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	links := map[string]v1alpha1.PlexLink{}
	t.Run("situations", func(t *testing.T) {
		for name, bringAbout := range healthSituations {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.network.Listeners = map[string]string{"192.168.1.100:32400": w.server.Addr}
				w.server.SetConnections(plextest.LocalConnection("http://192.168.1.100:32400"))
				bringAbout(w)
				link := withoutChance(w, w.link("kometa"))
				mu.Lock()
				defer mu.Unlock()
				links[name] = link
			})
		}
	})
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
		t.Errorf("%s differs from what the operator shows, rewrite it with -update:\n%s", file, diff)
	}
}

var (
	timestamp = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d([.]\d+)?(Z| UTC)`)
	timeOfDay = regexp.MustCompile(`\d\d:\d\d UTC`)
)

// withoutChance returns the part of a link that is in the file, with everything that varies between runs replaced.
func withoutChance(w *world, link *v1alpha1.PlexLink) v1alpha1.PlexLink {
	w.Helper()
	about := metav1.ObjectMeta{Name: link.Name, Namespace: link.Namespace, Generation: link.Generation}
	text, err := yaml.Marshal(v1alpha1.PlexLink{ObjectMeta: about, Spec: link.Spec, Status: link.Status})
	if err != nil {
		w.Fatal(err)
	}
	replace := []string{
		w.namespace, "media", w.sim.URL, "https://plex.tv", w.alice.UUID, "0123456789abcdef",
		w.server.MachineIdentifier, "my-id",
	}
	if link.Status.PIN != nil {
		replace = append(replace, link.Status.PIN.Code, "ABCD")
	}
	steady := strings.NewReplacer(replace...).Replace(string(text))
	steady = timestamp.ReplaceAllString(steady, "2026-01-01T12:00:00Z")
	steady = timeOfDay.ReplaceAllString(steady, "12:15 UTC")
	var result v1alpha1.PlexLink
	if err := yaml.Unmarshal([]byte(steady), &result); err != nil {
		w.Fatal(err)
	}
	return result
}

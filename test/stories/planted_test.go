package stories

import (
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plexlink.dev/operator/api/v1alpha1"
)

func TestPlantedLeakIsFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	token := string(w.secret("kometa").Data["PLEX_TOKEN"])
	w.logger().V(7).Info("planted", "url", "http://192.0.2.1/?X-Plex-Token="+url.QueryEscape(token))
	if leaks := w.leaks(); len(leaks) != 1 || !strings.Contains(leaks[0], "log") {
		t.Errorf("got the leaks %q, want one in the log", leaks)
	}
	w.logs = &syncBuffer{}
}

func TestPlantedLeftoversAreFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")

	token := w.sim.SignIn(w.alice, "another-device")
	if err := w.tokensAreStored(); err == nil {
		t.Error("got no error for a token without a device Secret")
	}
	w.ignoreToken(token, "planted")

	leftover := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name: "leftover", Namespace: w.namespace, Labels: map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy},
	}}
	if err := admin.Create(t.Context(), leftover); err != nil {
		t.Fatal(err)
	}
	if err := w.secretsBelong(); err == nil {
		t.Error("got no error for a Secret with our label but no link")
	}
	w.leaves(leftover.Name)

	empty := &world{TB: t, namespace: "default", operators: w.operators}
	if err := empty.forgotten(); err == nil {
		t.Error("got no error for an operator that remembers a deleted link")
	}
}

package stories

import (
	"os/exec"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// asInPod returns a command that starts another one as in a Pod of the namespace, whose name it finds where Kubernetes
// mounts it.
func asInPod(namespace string) []string {
	const script = `mount -t tmpfs tmpfs /var/run
dir=/var/run/secrets/kubernetes.io/serviceaccount
mkdir -p $dir && printf %s "$0" > $dir/namespace
exec "$@"`
	return []string{"unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", script, namespace}
}

// mayElect grants the operator the permissions the chart grants several replicas, for the named Leases.
func (w *world) mayElect(names ...string) {
	w.Helper()
	meta := metav1.ObjectMeta{Name: "leader-election", Namespace: w.namespace}
	for _, object := range []client.Object{
		&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"create"}},
			{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: names, Verbs: []string{"get", "update"}},
			{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"create"}},
		}},
		&rbacv1.RoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "controller-manager", Namespace: "plexlink-system"}},
		},
	} {
		if err := admin.Create(w.Context(), object); err != nil {
			w.Fatal(err)
		}
	}
}

// Fault B12: two releases in one namespace shared a Lease, so the second served nothing.
func TestTwoInstallationsInOneNamespaceServeTheirNamespaces(t *testing.T) {
	t.Parallel()
	if out, err := exec.CommandContext(t.Context(), "unshare", "--user", "--map-root-user", "--mount", "true").CombinedOutput(); err != nil {
		t.Skipf("running as in a Pod needs user namespaces, which this machine does not permit: %v %s", err, out)
	}
	media, games := newWorld(t), newWorld(t)
	media.mayElect("plexlink-media", "plexlink-games")
	for id, w := range map[string]*world{"plexlink-media": media, "plexlink-games": games} {
		managerUnder(w, asInPod(media.namespace), "--leader-elect", "--leader-election-id="+id)().awaitWork()
	}
	for _, w := range []*world{media, games} {
		w.linked("kometa")
		checkSecretOpensServer(t, w.secret("kometa"))
	}
	var leases coordinationv1.LeaseList
	if err := admin.List(t.Context(), &leases, client.InNamespace(media.namespace)); err != nil {
		t.Fatal(err)
	}
	holders, names := map[string]bool{}, []string{}
	for _, lease := range leases.Items {
		names = append(names, lease.Name)
		holders[*lease.Spec.HolderIdentity] = true
	}
	if got := strings.Join(names, " "); got != "plexlink-games plexlink-media" || len(holders) != 2 {
		t.Errorf("got the Leases %q with %d holders, want one for each installation", got, len(holders))
	}
}

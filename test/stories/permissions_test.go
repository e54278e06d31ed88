package stories

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// permissionOf returns the permission that a request needs, as in the rule of a role: verb, group and resource.
func permissionOf(req *http.Request) string {
	parts := strings.Split(strings.Trim(req.URL.Path, "/"), "/")
	group, parts := "", parts[min(len(parts), 2):] // api/v1
	if strings.HasPrefix(req.URL.Path, "/apis/") {
		group, parts = strings.Split(req.URL.Path, "/")[2], parts[min(len(parts), 1):]
	}
	if len(parts) < 3 || parts[0] != "namespaces" {
		return ""
	}
	resource, named := parts[2], len(parts) > 3
	if len(parts) > 4 {
		resource += "/" + parts[4]
	}
	verb := map[string]string{http.MethodPost: "create", http.MethodPatch: "patch", http.MethodDelete: "delete", http.MethodPut: "update"}[req.Method]
	switch {
	case req.Method != http.MethodGet:
	case named:
		verb = "get"
	case req.URL.Query().Get("watch") != "":
		verb = "watch"
	default:
		verb = "list"
	}
	return verb + " " + group + "/" + resource
}

// The operator of every story has exactly the permissions of config/rbac/role.yaml, so none is missing. Here each of them is
// used: without it the request would be refused.
func TestEveryPermissionIsUsed(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../config/rbac/role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(text, &role); err != nil {
		t.Fatal(err)
	}
	var granted []string
	for _, rule := range role.Rules {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				granted = append(granted, verb+" "+rule.APIGroups[0]+"/"+resource)
			}
		}
	}

	w := newWorld(t)
	w.plexPod("10.42.0.5", "plex")
	w.service("plex", 32400, "10.42.0.5")
	var mu sync.Mutex
	var used []string
	w.startOperator(func(o *operator) {
		o.diesBefore = func(req *http.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			used = append(used, permissionOf(req))
			if req.URL.Query().Get("sendInitialEvents") == "true" {
				// The watch begins with the list. API servers that do not support that are asked for a list.
				used = append(used, strings.Replace(permissionOf(req), "watch", "list", 1))
			}
			return false
		}
	})
	ca := &corev1.ConfigMap{Data: map[string]string{"ca.crt": string(w.sim.CertPEM())}}
	ca.Name, ca.Namespace = "ca", w.namespace
	if err := admin.Create(t.Context(), ca); err != nil {
		t.Fatal(err)
	}
	w.linked("kometa", func(l *v1alpha1.PlexLink) {
		l.Spec.Server.CAProvider = &v1alpha1.CAProvider{Type: v1alpha1.CAProviderConfigMap, Name: "ca"}
	})
	w.settled("kometa")
	for range 3 { // Repeated events are patched.
		s := w.secret("kometa")
		s.Data["PLEX_TOKEN"] = []byte("wrong")
		if err := admin.Update(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		w.eventually("the repair", func() error {
			if string(w.secret("kometa").Data["PLEX_TOKEN"]) == "wrong" {
				return errNotYet
			}
			return nil
		})
	}
	w.sim.Fault(plextest.Fault{Endpoint: plextest.SignOut, Status: 503})
	w.delete("kometa")
	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Finalizers = nil }) // The API server has to confirm that it is gone.
	w.isGone("kometa")
	for _, permission := range granted {
		w.eventually("the use of the permission to "+permission, func() error {
			mu.Lock()
			defer mu.Unlock()
			if !slices.Contains(used, permission) {
				return errNotYet
			}
			return nil
		})
	}
}

package stories

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// edit is a command that changes the spec.
func edit(change func(*v1alpha1.PlexLinkSpec)) func(*history) {
	return func(h *history) {
		h.collected()
		change(&h.spec)
		h.apply()
	}
}

func editServer(server v1alpha1.ServerSpec) func(*history) {
	return edit(func(s *v1alpha1.PlexLinkSpec) { s.Server = server })
}

func editData(data map[string]v1alpha1.TemplateText) func(*history) {
	return edit(func(s *v1alpha1.PlexLinkSpec) { s.Secret.Template = &v1alpha1.SecretTemplate{Data: data} })
}

// plexFails makes some requests to plex.tv fail.
func plexFails(fault plextest.Fault) func(*history) {
	return func(h *history) {
		for _, endpoint := range []plextest.Endpoint{plextest.CreatePIN, plextest.User, plextest.Resources, plextest.Ping, plextest.SignOut} {
			fault.Endpoint = endpoint
			h.sim.Fault(fault)
		}
	}
}

// eachTarget calls a function for every Secret that has had the target's name and our label.
func (h *history) eachTarget(do func(*corev1.Secret) error) {
	for _, name := range []string{"kometa", "b", "c"} {
		if s := h.secret(name); s != nil && s.Labels[v1alpha1.ManagedByLabel] != "" {
			if err := do(s); err != nil && !apierrors.IsConflict(err) {
				h.must(err)
			}
		}
	}
}

var badTemplate = map[string]v1alpha1.TemplateText{"A": "{{ .Nope }}"}

// commands are what may happen to a link.
var commands = map[string]func(*history){
	"name kometa":       edit(func(s *v1alpha1.PlexLinkSpec) { s.Secret.Name = "" }),
	"name b":            edit(func(s *v1alpha1.PlexLinkSpec) { s.Secret.Name = "b" }),
	"name c":            edit(func(s *v1alpha1.PlexLinkSpec) { s.Secret.Name = "c" }),
	"our server":        editServer(v1alpha1.ServerSpec{Name: ourServer}),
	"other server":      editServer(v1alpha1.ServerSpec{Name: otherServer}),
	"other by URL":      editServer(v1alpha1.ServerSpec{Name: otherServer, URL: "http://192.168.1.50:32400"}),
	"other unverified":  editServer(v1alpha1.ServerSpec{Name: otherServer, Verification: v1alpha1.VerificationSkip}),
	"no such server":    editServer(v1alpha1.ServerSpec{Name: "Nowhere"}),
	"ambiguous server":  editServer(v1alpha1.ServerSpec{}),
	"no such CA":        editServer(v1alpha1.ServerSpec{Name: ourServer, CAProvider: &v1alpha1.CAProvider{Type: "ConfigMap", Name: "nope"}}),
	"only HTTPS":        editServer(v1alpha1.ServerSpec{Name: ourServer, Schemes: []v1alpha1.Scheme{"HTTPS"}}),
	"suspend":           edit(func(s *v1alpha1.PlexLinkSpec) { s.Suspend = true }),
	"resume":            edit(func(s *v1alpha1.PlexLinkSpec) { s.Suspend = false }),
	"policy Retain":     edit(func(s *v1alpha1.PlexLinkSpec) { s.DeletionPolicy = v1alpha1.DeletionPolicyRetain }),
	"policy Revoke":     edit(func(s *v1alpha1.PlexLinkSpec) { s.DeletionPolicy = v1alpha1.DeletionPolicyRevoke }),
	"interval 2h":       edit(func(s *v1alpha1.PlexLinkSpec) { s.RefreshInterval = &metav1.Duration{Duration: 2 * time.Hour} }),
	"device name":       edit(func(s *v1alpha1.PlexLinkSpec) { s.Device.Name = "My Device" }),
	"only alice":        edit(func(s *v1alpha1.PlexLinkSpec) { s.Account.Username = "alice" }),
	"any account":       edit(func(s *v1alpha1.PlexLinkSpec) { s.Account.Username = "" }),
	"no template":       edit(func(s *v1alpha1.PlexLinkSpec) { s.Secret.Template = nil }),
	"template AB":       editData(map[string]v1alpha1.TemplateText{"A": "{{ .URL }}", "B": "{{ .Server.Name }}"}),
	"template BC":       editData(map[string]v1alpha1.TemplateText{"B": "b", "C": "{{ .Token }}{{ .Account.Username }}"}),
	"bad template":      editData(badTemplate),
	"type":              edit(func(s *v1alpha1.PlexLinkSpec) { s.Secret.Template = &v1alpha1.SecretTemplate{Type: "example.com/plex"} }),
	"label":             edit(func(s *v1alpha1.PlexLinkSpec) { s.Secret.Template = labeled("x", "1") }),
	"other label":       edit(func(s *v1alpha1.PlexLinkSpec) { s.Secret.Template = labeled("y", "2") }),
	"apply":             (*history).apply,
	"delete":            (*history).deletes,
	"vanish":            (*history).vanishes,
	"remove finalizer":  func(h *history) { h.patched(func(l *v1alpha1.PlexLink) { l.Finalizers = nil }) },
	"replace":           (*history).replaces,
	"ask for a PIN":     func(h *history) { h.asks(v1alpha1.LinkRequestedAtAnnotation) },
	"ask for a refresh": func(h *history) { h.asks(v1alpha1.RefreshRequestedAtAnnotation) },
	"alice enters":      func(h *history) { h.enter(h.alice) },
	"alice enters too":  func(h *history) { h.enter(h.alice) },
	"bob enters":        func(h *history) { h.enter(h.bob) },
	"revoke":            func(h *history) { h.sim.RevokeTokens(h.alice) },
	"move":              func(h *history) { h.moves(!h.moved) },
	"server down":       func(h *history) { h.down = true; h.moves(h.moved) },
	"server up":         func(h *history) { h.down = false; h.moves(h.moved) },
	"plex.tv down":      plexFails(plextest.Fault{Status: 503, Times: 2}),
	"plex.tv slow":      plexFails(plextest.Fault{Delay: 300 * time.Millisecond, Times: 3}),
	"plex.tv 429":       plexFails(plextest.Fault{Status: 429, Times: 1}),
	"plex.tv well":      func(h *history) { h.sim.ClearFaults() },
	"20m":               passes(20 * time.Minute),
	"70m":               passes(70 * time.Minute),
	"25h":               passes(25 * time.Hour),
	"clock back 3h":     passes(-3 * time.Hour),
	"Secret deleted":    (*history).deletesSecret,
	"Secret edited":     (*history).editsSecret,
	"foreign Secret b":  (*history).plantsForeign,
	"no foreign Secret": (*history).removesForeign,
	"kill":              func(h *history) { h.operator().kill(); h.restart() },
	"die soon":          func(h *history) { h.fuse.Store(3) },
	"die later":         func(h *history) { h.fuse.Store(9) },
	"stop":              func(h *history) { h.collected(); h.operator().stop() },
	"start":             func(h *history) { h.collected(); h.operator().stop(); h.restart() },
	"second manager":    func(h *history) { h.collected(); h.restart() },
	"one manager":       func(h *history) { h.collected(); h.oneManager() },
}

func labeled(key, value string) *v1alpha1.SecretTemplate {
	labels := map[string]v1alpha1.LabelValue{key: v1alpha1.LabelValue(value)}
	return &v1alpha1.SecretTemplate{Metadata: v1alpha1.SecretTemplateMetadata{Labels: labels}}
}

// oneManager kills all managers but the one that was started last.
func (h *history) oneManager() {
	for _, o := range h.operators[:len(h.operators)-1] {
		o.kill()
	}
}

// keeps records that Secrets may stay from now on: under another name the next link does not adopt them.
func (h *history) keeps() {
	h.kept = true
	h.leaves("kometa", "b", "c")
}

func (h *history) deletes() {
	if link := h.kometa(); link != nil {
		if link.Spec.DeletionPolicy == v1alpha1.DeletionPolicyRetain {
			h.keeps()
		}
		h.deleted(link)
	}
}

// vanishes deletes the link without its finalizer. An earlier deletion may end it first.
func (h *history) vanishes() {
	h.collected()
	if link := h.kometa(); link != nil {
		h.keeps()
		h.must(admin.Delete(h.Context(), link))
		h.must(admin.Patch(h.Context(), link, withoutFinalizers))
	}
}

// replaces writes the link as `kubectl replace` does: without finalizers and annotations.
func (h *history) replaces() {
	if link := h.kometa(); link != nil && link.DeletionTimestamp == nil {
		link.Finalizers, link.Annotations, link.Spec = nil, nil, *h.spec.DeepCopy()
		if err := admin.Update(h.Context(), link); err != nil && !apierrors.IsConflict(err) {
			h.must(err)
		}
	}
}

func (h *history) asks(annotation string) {
	h.patched(func(l *v1alpha1.PlexLink) {
		metav1.SetMetaDataAnnotation(&l.ObjectMeta, annotation, fmt.Sprint(time.Now().UnixNano()))
	})
}

func (h *history) deletesSecret() {
	h.eachTarget(func(s *corev1.Secret) error { return admin.Delete(h.Context(), s) })
}

func (h *history) editsSecret() {
	h.eachTarget(func(s *corev1.Secret) error {
		for key := range s.Data {
			s.Data[key] = []byte("edited")
		}
		return admin.Update(h.Context(), s, client.FieldOwner("kubectl-edit"))
	})
}

func (h *history) plantsForeign() {
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "b", Namespace: h.namespace, Labels: map[string]string{"foreign": "yes"}}}
	_ = admin.Create(h.Context(), foreign) // It may exist.
}

func (h *history) removesForeign() {
	if s := h.secret("b"); s != nil && s.Labels["foreign"] != "" {
		h.deleted(s)
	}
}

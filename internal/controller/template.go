package controller

import (
	"context"
	"errors"
	"strings"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/template"
)

// checkTemplate finds mistakes in spec.secret.template before a person is asked to enter a PIN. Each generation is checked
// once: the check may cost more than the rest of a poll.
func (r *Reconciler) checkTemplate(_ context.Context, s *scope) error {
	if checked := s.memory.template; checked.generation != s.link.Generation {
		s.memory.template = checkedTemplate{generation: s.link.Generation}
		if err := errors.Join(checkType(s.link), template.Check(templateTexts(s.link))); err != nil {
			s.memory.template.problem = invalidTemplate(err).message
		}
	}
	if problem := s.memory.template.problem; problem != "" {
		return &obstacle{reason: v1alpha1.ReasonInvalidTemplate, message: problem}
	}
	return nil
}

// checkType refuses the types of Kubernetes itself, as the CRD does: some of them grant access to the cluster.
func checkType(link *v1alpha1.PlexLink) error {
	t := link.Spec.Secret.Template
	if t == nil || t.Type == "" || t.Type == "Opaque" {
		return nil
	}
	domain, _, found := strings.Cut(t.Type, "/")
	if !found || !strings.Contains(domain, ".") || domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io") {
		return &template.Error{Problem: "type must be Opaque or a type with a domain of your own, such as example.com/plex"}
	}
	return nil
}

// templateTexts returns the templates of the Secret's keys, or nil for the default.
func templateTexts(link *v1alpha1.PlexLink) map[string]string {
	if link.Spec.Secret.Template == nil {
		return nil
	}
	texts := map[string]string{}
	for key, text := range link.Spec.Secret.Template.Data {
		texts[key] = string(text)
	}
	return texts
}

// renderData renders the data of the target Secret. The error is a *template.Error.
func renderData(link *v1alpha1.PlexLink, d state) (map[string][]byte, error) {
	values, err := template.Values{
		Token: d.ServerToken.Reveal(), AccountToken: d.Token.Reveal(), ClientIdentifier: d.ClientIdentifier.Reveal(),
		Server: template.Server{
			Name: d.Server.Name, MachineIdentifier: d.Server.MachineIdentifier, Version: d.Server.Version, Owned: d.Server.Owned,
		},
		Account: template.Account{Username: d.Account.Username, UUID: d.Account.UUID},
	}.WithURL(d.Server.URL)
	if err != nil {
		return nil, err
	}
	return template.Render(templateTexts(link), values)
}

package main

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plexlink.dev/operator/api/v1alpha1"
)

const (
	// operatorSelector selects the operator's Deployment, however it was installed.
	operatorSelector = "app.kubernetes.io/name=plexlink"
	operatorTitle    = "Operator"
)

func (p *plugin) doctorCommand() *cobra.Command {
	cmd := p.forName("doctor", "Find out why a link is not Ready, or why its apps do not get it",
		func(ctx context.Context, c *cluster, name string) error {
			link, err := c.link(ctx, name)
			if err != nil {
				return err
			}
			checks := c.checks(ctx, link, time.Now())
			bad := slices.ContainsFunc(checks, func(s step) bool { return s.Result == failed || s.Result == warning })
			if p.code = exitCode(*link); p.code == exitReady && bad {
				p.code = exitPerson
			}
			if p.output == "" {
				return p.report(link, checks)
			}
			return p.print(map[string]any{"namespace": link.Namespace, "name": name, "reason": ready(link).Reason, "checks": checks})
		})
	cmd.Long = cmd.Short + ". It reads the PlexLink, the schema of its kind, the Pods of the namespace, the operator's Deployment and " +
		"the metadata of the Secret, as far as you are permitted to, and says what it could not read."
	p.outputFlag(cmd)
	return cmd
}

// checks returns the diagnosis.
func (c *cluster) checks(ctx context.Context, link *v1alpha1.PlexLink, now time.Time) []step {
	spec := step{done, "Spec", "the operator has acted on the last change"}
	if link.Status.ObservedGeneration != link.Generation {
		spec = step{failed, "Spec",
			"no operator has acted on the last change: it is not running, or leaves out this namespace (--watch-namespaces)"}
	}
	checks := slices.Concat([]step{c.schemaCheck(ctx)}, c.operatorChecks(ctx), []step{spec}, linkSteps(link))
	for i, s := range checks {
		if what, addresses, ok := strings.Cut(s.Message, ": "); ok && s.Title == "Server" && s.Result == failed { // A line for each address.
			checks[i].Message = what + ":\n- " + strings.ReplaceAll(addresses, "; ", "\n- ")
		}
	}
	var changed time.Time
	if condition(link, v1alpha1.ConditionSecretSynced).Status == metav1.ConditionTrue {
		var err error
		s := step{unknown, "Changed", "cannot tell when the Secret last changed, nor which Pods are older: "}
		if changed, err = c.secretChanged(ctx, secretName(link)); err != nil {
			s.Message += reason(err, "get secrets")
		} else {
			s = step{done, "Changed", "the Secret last changed " + ago(now, changed)}
		}
		checks = append(checks, s)
	}
	return append(checks, c.podSteps(ctx, link, changed)...)
}

// operatorChecks reports for each operator whether it is running, and its version.
func (c *cluster) operatorChecks(ctx context.Context) []step {
	var list appsv1.DeploymentList
	err := send(ctx, c.Get().AbsPath("/apis/apps/v1/deployments").Param("labelSelector", operatorSelector), &list)
	if err != nil {
		return []step{{unknown, operatorTitle, "cannot be looked up: " + reason(err, "list deployments of all namespaces")}}
	}
	if len(list.Items) == 0 {
		return []step{{failed, operatorTitle, "is not installed: no Deployment has the label " + operatorSelector}}
	}
	var checks []step
	for i := range list.Items {
		d := &list.Items[i]
		s := step{done, operatorTitle, fmt.Sprintf("%s is running in namespace %s", operatorVersion(d), d.Namespace)}
		if d.Status.AvailableReplicas == 0 {
			s = step{failed, operatorTitle, fmt.Sprintf("%s is not running; see: kubectl describe pods -n %s -l %s",
				operatorVersion(d), d.Namespace, operatorSelector)}
		}
		checks = append(checks, s)
	}
	return checks
}

// operatorVersion returns the tag of the operator's image.
func operatorVersion(d *appsv1.Deployment) string {
	for _, container := range d.Spec.Template.Spec.Containers {
		image, _, _ := strings.Cut(container.Image, "@")
		if i := strings.LastIndex(image, ":"); i > strings.LastIndex(image, "/") {
			return image[i+1:]
		}
	}
	return cmp.Or(d.Labels["app.kubernetes.io/version"], "an unknown version")
}

// secretChanged returns when PlexLink last wrote a Secret. It accepts metadata only, so that no data is sent: client-go's
// metadata client would accept the whole Secret from an API server that does not support that.
func (c *cluster) secretChanged(ctx context.Context, name string) (time.Time, error) {
	var secret metav1.PartialObjectMetadata
	err := send(ctx, c.Get().AbsPath("/api/v1").Namespace(c.namespace).Resource("secrets").Name(name).
		SetHeader("Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"), &secret)
	changed := secret.CreationTimestamp.Time
	for _, entry := range secret.ManagedFields {
		if entry.Manager == v1alpha1.ManagedBy && entry.Time != nil && entry.Time.After(changed) {
			changed = entry.Time.Time
		}
	}
	return changed, err
}

// crdSchema is the part of a JSON schema that names fields.
type crdSchema struct{ Properties map[string]crdSchema }

// schemaCheck compares the fields that this plugin knows with the schema that the API server publishes for everyone: reading
// the CRD would need a cluster-wide permission.
func (c *cluster) schemaCheck(ctx context.Context) step {
	var document struct {
		Components struct{ Schemas map[string]crdSchema }
	}
	if err := send(ctx, c.Get().AbsPath("/openapi/v3/apis", v1alpha1.GroupVersion.String()), &document); err != nil {
		return step{unknown, "CRD", "cannot be compared with this plugin: " + reason(err, "get /openapi/v3")}
	}
	for name, served := range document.Components.Schemas {
		if missing := served.missing(reflect.TypeFor[v1alpha1.PlexLink](), ""); strings.HasSuffix(name, ".PlexLink") && len(missing) > 0 {
			return step{failed, "CRD", "lacks " + strings.Join(missing, ", ") + "; install the CRD of this plugin's version, " + version}
		}
	}
	return step{done, "CRD", "has all fields that this plugin knows"}
}

// missing returns the fields of a type that a schema lacks, without those of list items.
func (s crdSchema) missing(t reflect.Type, path string) []string {
	var missing []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		field := f.Type
		if field.Kind() == reflect.Pointer {
			field = field.Elem()
		}
		switch served, ok := s.Properties[name]; {
		case name == "":
		case !ok:
			missing = append(missing, path+name)
		case field.Kind() == reflect.Struct && field.PkgPath() == t.PkgPath():
			missing = append(missing, served.missing(field, path+name+".")...)
		}
	}
	return missing
}

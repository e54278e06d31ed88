package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plexlink.dev/operator/api/v1alpha1"
)

const (
	// operatorSelector finds the operator's Deployment, whichever way it was installed.
	operatorSelector = "app.kubernetes.io/name=plexlink"
	deploymentsRight = "list deployments of all namespaces"
	operatorTitle    = "Operator"
)

// findings is what the doctor reads. The errors are why something could not be read.
type findings struct {
	link                                          *v1alpha1.PlexLink
	missing                                       []string // fields that the CRD lacks
	operators                                     []appsv1.Deployment
	pods                                          []corev1.Pod
	changed                                       time.Time // when the Secret last changed
	now                                           time.Time
	missingErr, operatorsErr, podsErr, changedErr error
}

func (p *plugin) doctorCommand() *cobra.Command {
	cmd := p.forName("doctor", "Find out why a link is not Ready, or why its apps do not get it",
		func(ctx context.Context, c *cluster, name string) error {
			link, err := c.link(ctx, name)
			if err != nil {
				return err
			}
			f := findings{link: link, now: time.Now()}
			f.missing, f.missingErr = c.missingFields(ctx)
			f.operators, f.operatorsErr = list[appsv1.Deployment](ctx, c.objects.Resource(deploymentsResource), operatorSelector)
			f.pods, f.podsErr = list[corev1.Pod](ctx, c.objects.Resource(podsResource).Namespace(c.namespace), "")
			f.changed, f.changedErr = c.secretChanged(ctx, secretName(link))
			return p.diagnose(f)
		})
	cmd.Long = cmd.Short + ". It reads the PlexLink, the schema of its kind, the Pods of the namespace, the operator's Deployment and " +
		"the metadata of the Secret, as far as you may, and tells what you may not."
	p.outputFlag(cmd)
	return cmd
}

// diagnose shows the checks. A link that is Ready needs a person all the same when a check is not good.
func (p *plugin) diagnose(f findings) error {
	checks := f.checks()
	p.code = exitCode(*f.link)
	if p.code == exitReady && slices.ContainsFunc(checks, func(s step) bool { return s.mark == failed || s.mark == warning }) {
		p.code = exitPerson
	}
	if p.output == "" {
		return p.report(f.link, checks)
	}
	results := map[mark]string{done: "OK", pending: "Pending", warning: "Warning", failed: "Failed", unknown: "Unknown"}
	var printed []map[string]string
	for _, s := range checks {
		printed = append(printed, map[string]string{"check": s.title, "result": results[s.mark], "message": s.text})
	}
	return p.print(map[string]any{
		"namespace": f.link.Namespace, "name": f.link.Name, "reason": ready(f.link).Reason, "checks": printed,
	})
}

// checks is the diagnosis.
func (f findings) checks() []step {
	checks := append([]step{f.schemaCheck()}, f.operatorChecks()...)
	for _, s := range linkSteps(f.link) {
		if what, addresses, ok := strings.Cut(s.text, ": "); ok && s.title == "Server" && s.mark == failed { // A line for each address.
			s.text = what + ":\n- " + strings.ReplaceAll(addresses, "; ", "\n- ")
		}
		checks = append(checks, s)
	}
	switch {
	case condition(f.link, v1alpha1.ConditionSecretSynced).Status != metav1.ConditionTrue:
	case f.changedErr != nil:
		checks = append(checks, step{unknown, "Changed",
			"cannot tell when the Secret last changed, nor which Pods are older: " + reason(f.changedErr, "get secrets")})
	default:
		checks = append(checks, step{done, "Changed", "the Secret last changed " + ago(f.now, f.changed)})
	}
	return append(checks, podSteps(f.pods, f.link, f.changed, f.podsErr)...)
}

func (f findings) schemaCheck() step {
	switch {
	case f.missingErr != nil:
		return step{unknown, "CRD", "cannot be compared with this plugin: " + reason(f.missingErr, "get /openapi/v3")}
	case len(f.missing) > 0:
		return step{failed, "CRD", "lacks " + strings.Join(f.missing, ", ") + "; install the CRD of this plugin's version, " + version}
	}
	return step{done, "CRD", "has all fields that this plugin knows"}
}

func (f findings) operatorChecks() []step {
	seen := step{done, "Spec", "the operator has acted on the last change"}
	if f.link.Status.ObservedGeneration != f.link.Generation {
		seen = step{failed, "Spec",
			"no operator has acted on the last change: it is not running, or leaves out this namespace (--watch-namespaces)"}
	}
	if f.operatorsErr != nil {
		return []step{{unknown, operatorTitle, "cannot be looked up: " + reason(f.operatorsErr, deploymentsRight)}, seen}
	}
	if len(f.operators) == 0 {
		return []step{{failed, operatorTitle, "is not installed: no Deployment has the label " + operatorSelector}, seen}
	}
	var checks []step
	for i := range f.operators {
		d := &f.operators[i]
		s := step{done, operatorTitle, fmt.Sprintf("%s is running in namespace %s", operatorVersion(d), d.Namespace)}
		if d.Status.AvailableReplicas == 0 {
			s = step{failed, operatorTitle, fmt.Sprintf("%s is not running; see: kubectl describe pods -n %s -l %s",
				operatorVersion(d), d.Namespace, operatorSelector)}
		}
		checks = append(checks, s)
	}
	return append(checks, seen)
}

// operatorVersion is the tag of the operator's image.
func operatorVersion(d *appsv1.Deployment) string {
	for _, container := range d.Spec.Template.Spec.Containers {
		image, _, _ := strings.Cut(container.Image, "@")
		if i := strings.LastIndex(image, ":"); i > strings.LastIndex(image, "/") {
			return image[i+1:]
		}
	}
	return cmp.Or(d.Labels["app.kubernetes.io/version"], "an unknown version")
}

// missingFields lists the fields that this plugin knows and the CRD has not. It reads the schema that the API server
// publishes for everyone: reading the CRD would need a right to the whole cluster.
func (c *cluster) missingFields(ctx context.Context) ([]string, error) {
	var document map[string]any
	err := c.get(ctx, &document, "application/json", "/openapi/v3/apis", v1alpha1.GroupVersion.String())
	if err != nil {
		return nil, err
	}
	schemas, _, _ := unstructured.NestedMap(document, "components", "schemas")
	for name, schema := range schemas {
		if strings.HasSuffix(name, ".PlexLink") {
			return missingIn(schema, reflect.TypeFor[v1alpha1.PlexLink](), ""), nil
		}
	}
	return nil, errors.New("the API server publishes no schema of PlexLinks")
}

// missingIn lists the fields of a type that a schema has not. What items of lists have is left out.
func missingIn(schema any, t reflect.Type, path string) []string {
	var missing []string
	properties, _ := schema.(map[string]any)["properties"].(map[string]any)
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		field := f.Type
		if field.Kind() == reflect.Pointer {
			field = field.Elem()
		}
		switch property, ok := properties[name]; {
		case name == "":
		case !ok:
			missing = append(missing, path+name)
		case field.Kind() == reflect.Struct && field.PkgPath() == t.PkgPath():
			missing = append(missing, missingIn(property, field, path+name+".")...)
		}
	}
	return missing
}

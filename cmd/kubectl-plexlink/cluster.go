package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"plexlink.dev/operator/api/v1alpha1"
)

// requestTimeout bounds each request, unless --request-timeout does.
const requestTimeout = 15 * time.Second

var (
	linksResource       = v1alpha1.GroupVersion.WithResource("plexlinks")
	podsResource        = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	deploymentsResource = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
)

// cluster is the API server, and the namespace that flags and kubeconfig name.
type cluster struct {
	namespace string
	rest      *rest.Config
	objects   dynamic.Interface
	links     dynamic.ResourceInterface
}

// connect reads kubeconfig and flags; it sends nothing.
func (p *plugin) connect() (*cluster, error) {
	c := &cluster{}
	var err error
	if c.namespace, _, err = p.config.Namespace(); err == nil {
		c.rest, err = p.config.ClientConfig()
	}
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	if c.rest.Timeout == 0 {
		c.rest.Timeout = requestTimeout
	}
	c.rest.QPS, c.rest.UserAgent = -1, "kubectl-plexlink/"+version
	c.rest.WarningHandler = rest.NoWarnings{} // They would break into what is drawn.
	if c.objects, err = dynamic.NewForConfig(c.rest); err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	c.links = c.objects.Resource(linksResource).Namespace(c.namespace)
	return c, nil
}

// list decodes the objects of a list.
func list[T any](ctx context.Context, objects dynamic.ResourceInterface, selector string) ([]T, error) {
	found, err := objects.List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, explain(err)
	}
	items := make([]T, len(found.Items))
	for i := range found.Items {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(found.Items[i].Object, &items[i]); err != nil {
			return nil, fmt.Errorf("decode a list: %w", err)
		}
	}
	return items, nil
}

// names returns the names of the PlexLinks of the namespace.
func (c *cluster) names(ctx context.Context) ([]string, error) {
	links, err := list[v1alpha1.PlexLink](ctx, c.links, "")
	names := make([]string, 0, len(links))
	for i := range links {
		names = append(names, links[i].Name)
	}
	return names, err
}

// link reads a PlexLink; an error tells which there are when it does not exist.
func (c *cluster) link(ctx context.Context, name string) (*v1alpha1.PlexLink, error) {
	return c.decode(ctx, name)(c.links.Get(ctx, name, metav1.GetOptions{}))
}

// patch merges a change into a PlexLink.
func (c *cluster) patch(ctx context.Context, name string, change map[string]any) (*v1alpha1.PlexLink, error) {
	raw, err := json.Marshal(change)
	if err != nil {
		return nil, err
	}
	return c.decode(ctx, name)(c.links.Patch(ctx, name, types.MergePatchType, raw, metav1.PatchOptions{}))
}

// request sets an annotation to a new value, which the status repeats once the operator has acted on it.
func (c *cluster) request(ctx context.Context, name, annotation string) (link *v1alpha1.PlexLink, value string, err error) {
	value = time.Now().UTC().Format(time.RFC3339Nano)
	link, err = c.patch(ctx, name, map[string]any{"metadata": map[string]any{"annotations": map[string]any{annotation: value}}})
	return link, value, err
}

// decode makes a PlexLink of an answer, or explains why there is none.
func (c *cluster) decode(ctx context.Context, name string) func(*unstructured.Unstructured, error) (*v1alpha1.PlexLink, error) {
	return func(object *unstructured.Unstructured, err error) (*v1alpha1.PlexLink, error) {
		if err == nil {
			link := &v1alpha1.PlexLink{}
			return link, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, link)
		}
		if !isMissing(err) {
			return nil, explain(err)
		}
		what := "to create it, run: kubectl plexlink link -n " + c.namespace + " " + name
		if names, _ := c.names(ctx); len(names) > 0 {
			what = "it has: " + strings.Join(names, ", ")
		}
		return nil, missingError(fmt.Sprintf("namespace %s has no PlexLink %s; %s", c.namespace, name, what))
	}
}

// missingError is that there is no PlexLink of the name.
type missingError string

func (e missingError) Error() string { return string(e) }

// get reads a path and decodes the JSON.
func (c *cluster) get(ctx context.Context, into any, accept string, path ...string) error {
	client, err := rest.UnversionedRESTClientFor(dynamic.ConfigFor(c.rest))
	if err != nil {
		return err
	}
	raw, err := client.Get().AbsPath(path...).SetHeader("Accept", accept).Do(ctx).Raw()
	if err != nil {
		return explain(err)
	}
	return json.Unmarshal(raw, into)
}

// secretChanged returns when PlexLink last wrote a Secret. It accepts metadata only, so that no data is sent: the client of
// client-go would accept the whole Secret from an API server that cannot do that.
func (c *cluster) secretChanged(ctx context.Context, name string) (time.Time, error) {
	var secret metav1.PartialObjectMetadata
	const accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
	if err := c.get(ctx, &secret, accept, "/api/v1/namespaces", c.namespace, "secrets", name); err != nil {
		return time.Time{}, err
	}
	changed := secret.CreationTimestamp.Time
	for _, entry := range secret.ManagedFields {
		if entry.Manager == v1alpha1.ManagedBy && entry.Time != nil && entry.Time.After(changed) {
			changed = entry.Time.Time
		}
	}
	return changed, nil
}

// isMissing reports whether a PlexLink does not exist, rather than its namespace or its kind.
func isMissing(err error) bool {
	var answer apierrors.APIStatus
	return apierrors.IsNotFound(err) && !isNotServed(err) && errors.As(err, &answer) &&
		answer.Status().Details != nil && answer.Status().Details.Kind == "plexlinks"
}

// isNotServed reports whether the API server does not know the kind at all.
func isNotServed(err error) bool {
	return apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// explain adds to an error of the API server what to do about it.
func explain(err error) error {
	switch {
	case isNotServed(err):
		return errors.New("this cluster has no PlexLinks; to install the operator, run: helm install plexlink " +
			"oci://ghcr.io/plexlink/charts/plexlink --namespace plexlink-system --create-namespace")
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w; the ClusterRole plexlink-editor-role has the rights to PlexLinks", err)
	}
	return fmt.Errorf("ask the API server: %w", err)
}

// reason tells which right is missing, or what else went wrong.
func reason(err error, right string) string {
	if apierrors.IsForbidden(err) {
		return "you may not " + right
	}
	return err.Error()
}

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"plexlink.dev/operator/api/v1alpha1"
)

// requestTimeout bounds each request, unless --request-timeout does.
const requestTimeout = 15 * time.Second

// cluster is the API server, and the namespace that flags and kubeconfig name.
type cluster struct {
	*rest.RESTClient
	namespace string
}

// connect reads kubeconfig and flags; it sends nothing.
func (p *plugin) connect() (*cluster, error) {
	config, err := p.config.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	config.Timeout = cmp.Or(config.Timeout, requestTimeout)
	config.QPS, config.UserAgent = -1, "kubectl-plexlink/"+version
	config.WarningHandler = rest.NoWarnings{} // They would garble the screen.
	namespace, _, err := p.config.Namespace()
	if err != nil {
		return nil, fmt.Errorf("read the namespace of the kubeconfig: %w", err)
	}
	// A client without a scheme: registering the API types of Kubernetes would double the size of the binary.
	client, err := rest.UnversionedRESTClientFor(dynamic.ConfigFor(config))
	return &cluster{client, namespace}, err
}

// links addresses the PlexLinks of the namespace.
func (c *cluster) links(request *rest.Request) *rest.Request {
	return request.AbsPath("/apis", v1alpha1.GroupVersion.String()).Namespace(c.namespace).Resource("plexlinks")
}

// send sends a request and decodes the JSON of the answer.
func send(ctx context.Context, request *rest.Request, into any) error {
	result := request.Do(ctx)
	if err := result.Error(); err != nil {
		return explain(err)
	}
	raw, err := result.Raw()
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

func (c *cluster) link(ctx context.Context, name string) (link *v1alpha1.PlexLink, err error) {
	err = send(ctx, c.links(c.Get()).Name(name), &link)
	return link, err
}

func (c *cluster) create(ctx context.Context, link *v1alpha1.PlexLink) (*v1alpha1.PlexLink, error) {
	raw, err := json.Marshal(link)
	if err != nil {
		return nil, err
	}
	return link, send(ctx, c.links(c.Post()).Body(raw), link)
}

// patch merges JSON into a PlexLink.
func (c *cluster) patch(ctx context.Context, name, change string) (link *v1alpha1.PlexLink, err error) {
	err = send(ctx, c.links(c.Patch(types.MergePatchType)).Name(name).Body([]byte(change)), &link)
	return link, err
}

// request sets a request annotation to a new value, which the status repeats once the operator has handled it.
func (c *cluster) request(ctx context.Context, name, annotation string) (link *v1alpha1.PlexLink, value string, err error) {
	value = time.Now().UTC().Format(time.RFC3339Nano)
	link, err = c.patch(ctx, name, fmt.Sprintf(`{"metadata": {"annotations": {%q: %q}}}`, annotation, value))
	return link, value, err
}

// names returns the names of the PlexLinks of the namespace; none without permission to list them.
func (c *cluster) names(ctx context.Context) []string {
	var list v1alpha1.PlexLinkList
	_ = send(ctx, c.links(c.Get()), &list)
	names := make([]string, len(list.Items))
	for i := range list.Items {
		names[i] = list.Items[i].Name
	}
	return names
}

// missing returns the error that there is no PlexLink of the name.
func (c *cluster) missing(ctx context.Context, name string) error {
	what := "to create it, run: kubectl plexlink link -n " + c.namespace + " " + name
	if names := c.names(ctx); len(names) > 0 {
		what = "it has: " + strings.Join(names, ", ")
	}
	return fmt.Errorf("namespace %s has no PlexLink %s; %s", c.namespace, name, what)
}

// isMissing reports whether a PlexLink does not exist, rather than its namespace.
func isMissing(err error) bool {
	var answer apierrors.APIStatus
	return apierrors.IsNotFound(err) && errors.As(err, &answer) &&
		answer.Status().Details != nil && answer.Status().Details.Kind == "plexlinks"
}

// explain adds to an API server's error what to do about it.
func explain(err error) error {
	switch {
	case apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse):
		return errors.New("this cluster has no PlexLinks; to install the operator, run: helm install plexlink " +
			"oci://ghcr.io/plexlink/charts/plexlink --namespace plexlink-system --create-namespace")
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w; the ClusterRole plexlink-editor-role has the rights to PlexLinks", err)
	}
	return fmt.Errorf("ask the API server: %w", err)
}

// reason says which permission is missing, or what else went wrong.
func reason(err error, right string) string {
	if apierrors.IsForbidden(err) {
		return "you may not " + right
	}
	return err.Error()
}

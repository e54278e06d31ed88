package main

import (
	"context"
	"net/http"
	"strings"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// withAccessReview serves metrics only to callers that the cluster permits to get the path. controller-runtime has a filter
// that does the same, but it depends on k8s.io/apiserver, which makes the image a quarter larger.
func withAccessReview(config *rest.Config, httpClient *http.Client) (metricsserver.Filter, error) {
	c, err := client.New(config, client.Options{HTTPClient: httpClient})
	if err != nil {
		return nil, err
	}
	return func(log logr.Logger, next http.Handler) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			status, err := reviewAccess(req.Context(), c, req)
			if err != nil {
				log.Error(err, "Could not review the access to the metrics")
			}
			if status != http.StatusOK {
				http.Error(w, http.StatusText(status), status)
				return
			}
			next.ServeHTTP(w, req)
		}), nil
	}, nil
}

// reviewAccess asks the API server who the caller is and what they may do. It returns the HTTP status to answer with; the
// error is for the log.
func reviewAccess(ctx context.Context, c client.Client, req *http.Request) (int, error) {
	token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return http.StatusUnauthorized, nil
	}
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	if err := c.Create(ctx, review); err != nil {
		return http.StatusInternalServerError, err
	}
	if !review.Status.Authenticated {
		return http.StatusUnauthorized, nil
	}
	user := review.Status.User
	extra := map[string]authorizationv1.ExtraValue{}
	for k, v := range user.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	access := &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: req.URL.Path, Verb: strings.ToLower(req.Method)},
		},
	}
	if err := c.Create(ctx, access); err != nil {
		return http.StatusInternalServerError, err
	}
	if !access.Status.Allowed {
		return http.StatusForbidden, nil
	}
	return http.StatusOK, nil
}

package stories

import (
	"encoding/json"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// plexLinkWith returns a PlexLink from the JSON of its spec, which may contain what the Go types cannot.
func plexLinkWith(t *testing.T, namespace, spec string) *unstructured.Unstructured {
	t.Helper()
	link := &unstructured.Unstructured{Object: map[string]any{}}
	var s any
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		t.Fatalf("%s: %v", spec, err)
	}
	link.Object["spec"] = s
	link.SetAPIVersion("plexlink.dev/v1alpha1")
	link.SetKind("PlexLink")
	link.SetNamespace(namespace)
	link.SetName("kometa")
	return link
}

func TestBadSpecIsRefusedWithAMessageThatSaysWhatToDo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	long := strings.Repeat("x", 70000)
	var refused []metav1.StatusCause
	for spec, want := range map[string]string{
		`{"device": {"product": "Täutulli"}}`:                                                            "product is sent as an HTTP header",
		`{"device": {"product": " x"}}`:                                                                  "product is sent as an HTTP header",
		`{"device": {"product": "a\nb"}}`:                                                                "product is sent as an HTTP header",
		`{"device": {"product": ""}}`:                                                                    "should be at least 1 chars long",
		`{"device": {"product": "` + long[:65] + `"}}`:                                                   "may not be more than 64 bytes",
		`{"device": {"name": "x\r\nX-Plex-Token: y"}}`:                                                   "name is sent as an HTTP header",
		`{"device": {"name": "x "}}`:                                                                     "name is sent as an HTTP header",
		`{"device": {"clientIdentifier": "my-unique-app-id"}}`:                                           `unknown field "spec.device.clientIdentifier"`,
		`{"device": {"importSecretRef": {}}}`:                                                            "Required value",
		`{"device": {"importSecretRef": {"name": "A"}}}`:                                                 "name must be a valid name of a Secret",
		`{"device": {"importSecretRef": {"name": "kometa-plexlink-device"}}}`:                            "import from a Secret of another name",
		`{"account": {"username": "alice", "uuid": "0123"}}`:                                             "set username or uuid, not both: remove one of them",
		`{"account": {"username": "alice", "linkRef": {"name": "other"}}}`:                               "remove linkRef, or username and uuid",
		`{"account": {"uuid": "0123", "linkRef": {"name": "other"}}}`:                                    "remove linkRef, or username and uuid",
		`{"account": {"allowLinkRefs": true, "linkRef": {"name": "other"}}}`:                             "remove allowLinkRefs or linkRef",
		`{"account": {"linkRef": {"name": "kometa"}}}`:                                                   "spec.account.linkRef is this PlexLink itself: name another one",
		`{"account": {"linkRef": {"name": "Other"}}}`:                                                    "name must be a valid name of a PlexLink",
		`{"account": {"linkRef": {"name": "` + long[:64] + `"}}}`:                                        "may not be more than 63 bytes",
		`{"account": {"linkRef": {}}}`:                                                                   "Required value",
		`{"account": {"username": ""}}`:                                                                  "should be at least 1 chars long",
		`{"account": {"uuid": ""}}`:                                                                      "should be at least 1 chars long",
		`{"server": {"name": "a", "machineIdentifier": "b"}}`:                                            "set name or machineIdentifier, not both: remove one of them",
		`{"server": {"name": ""}}`:                                                                       "should be at least 1 chars long",
		`{"server": {"machineIdentifier": "a b"}}`:                                                       "copy it from status.servers",
		`{"server": {"url": "plex.media.svc:32400"}}`:                                                    "url must look like http://plex.media.svc:32400",
		`{"server": {"url": "ftp://plex"}}`:                                                              "url must look like",
		`{"server": {"url": "http://"}}`:                                                                 "url must look like",
		`{"server": {"url": "http:///plex"}}`:                                                            "url must look like",
		`{"server": {"url": "/plex"}}`:                                                                   "url must look like",
		`{"server": {"url": "http://alice:secret@plex"}}`:                                                "without a user",
		`{"server": {"url": "http://plex?X-Plex-Token=x"}}`:                                              "without a user, a query",
		`{"server": {"url": "http://plex#x"}}`:                                                           "a fragment",
		`{"server": {"url": "http://plex:99999"}}`:                                                       "no port or one from 1 to 65535",
		`{"server": {"url": "http://plex:0"}}`:                                                           "no port or one from 1 to 65535",
		`{"server": {"url": "http://plex:"}}`:                                                            "no port or one from 1 to 65535",
		`{"server": {"url": "http://plex/a\"b"}}`:                                                        "url may have no spaces, quotes",
		`{"server": {"url": "http://plex/a b"}}`:                                                         "url may have no spaces, quotes",
		`{"server": {"url": "http://plex/\nx"}}`:                                                         "url may have no spaces, quotes",
		`{"server": {"url": "http://plex/` + long[:600] + `"}}`:                                          "may not be more than 512 bytes",
		`{"server": {"locations": []}}`:                                                                  "should have at least 1 items",
		`{"server": {"locations": ["Moon"]}}`:                                                            `supported values: "Cluster", "Local", "Remote", "Relay"`,
		`{"server": {"locations": ["Local", "Local"]}}`:                                                  "locations has an entry twice: remove one",
		`{"server": {"schemes": ["https"]}}`:                                                             `supported values: "HTTPS", "HTTP"`,
		`{"server": {"schemes": ["http"]}}`:                                                              `supported values: "HTTPS", "HTTP"`,
		`{"server": {"schemes": ["ftp"]}}`:                                                               `supported values: "HTTPS", "HTTP"`,
		`{"server": {"schemes": ["HTTP", "HTTP"]}}`:                                                      "schemes has an entry twice: remove one",
		`{"server": {"verification": "Maybe"}}`:                                                          `supported values: "Required", "Skip"`,
		`{"server": {"caProvider": {}}}`:                                                                 "Required value",
		`{"server": {"caProvider": {"type": "Pod", "name": "x"}}}`:                                       `supported values: "Secret", "ConfigMap"`,
		`{"server": {"caProvider": {"type": "Secret", "name": "A"}}}`:                                    "name must be a valid name of a Secret or ConfigMap",
		`{"server": {"caProvider": {"type": "Secret", "name": "a", "key": "a/b"}}}`:                      "key may have letters",
		`{"secret": {"name": "Kometa"}}`:                                                                 "secret.name must be a valid name of a Secret",
		`{"secret": {"name": "../x"}}`:                                                                   "secret.name must be a valid name of a Secret",
		`{"secret": {"name": "kometa-plexlink-device"}}`:                                                 "in which PlexLink keeps its own state: choose another name",
		`{"secret": {"template": {"type": "kubernetes.io/service-account-token"}}}`:                      "types of kubernetes.io are refused",
		`{"secret": {"template": {"type": "bootstrap.kubernetes.io/token"}}}`:                            "types of kubernetes.io are refused",
		`{"secret": {"template": {"type": "Kubernetes.io/tls"}}}`:                                        "type must be Opaque or a type with a domain of your own",
		`{"secret": {"template": {"type": "plex"}}}`:                                                     "type must be Opaque or a type with a domain of your own",
		`{"secret": {"template": {"type": "plex/token"}}}`:                                               "type must be Opaque or a type with a domain of your own",
		`{"secret": {"template": {"data": {"a/b": "x"}}}}`:                                               "each key of data may have letters",
		`{"secret": {"template": {"data": {"": "x"}}}}`:                                                  "each key of data may have letters",
		`{"secret": {"template": {"data": {"..": "x"}}}}`:                                                "may not be . or begin with ..",
		`{"secret": {"template": {"data": {".": "x"}}}}`:                                                 "may not be . or begin with ..",
		`{"secret": {"template": {"data": {"..data": "x"}}}}`:                                            "may not be . or begin with ..",
		`{"secret": {"template": {"data": {"a": "` + long + `"}}}}`:                                      "may not be more than 65536 bytes",
		`{"secret": {"template": {"data": {"a": "` + long[:65536] + `", "b": "` + long[:65536] + `"}}}}`: "together may have at most 128 KiB",
		`{"secret": {"template": {"metadata": {"labels": {"app.kubernetes.io/managed-by": "x"}}}}}`:      "PlexLink needs them itself, remove them",
		`{"secret": {"template": {"metadata": {"labels": {"plexlink.dev/uid": "x"}}}}}`:                  "PlexLink needs them itself, remove them",
		`{"secret": {"template": {"metadata": {"labels": {"a b": "x"}}}}}`:                               "each label must have a valid name",
		`{"secret": {"template": {"metadata": {"labels": {"a": "x y"}}}}}`:                               "each label must have a valid name",
		`{"secret": {"template": {"metadata": {"annotations": {"plexlink.dev/x": "x"}}}}}`:               "PlexLink needs them itself, remove them",
		`{"secret": {"template": {"metadata": {"annotations": {"a b": "x"}}}}}`:                          "each annotation must have a valid name",
		`{"refreshInterval": "30s"}`:                                                                     "refreshInterval must be a duration of at least 1m",
		`{"refreshInterval": "-1h"}`:                                                                     "refreshInterval must be a duration of at least 1m",
		`{"refreshInterval": "often"}`:                                                                   "refreshInterval must be a duration of at least 1m",
		`{"refreshInterval": 3600}`:                                                                      "must be of type string",
		`{"refreshInterval": "9999999h"}`:                                                                "refreshInterval must be a duration of at least 1m",
		`{"deletionPolicy": "Keep"}`:                                                                     `supported values: "Revoke", "Retain"`,
		`{"suspend": "yes"}`:                                                                             "must be of type boolean",
		`{"server": {"nam": "x"}}`:                                                                       `unknown field "spec.server.nam"`,
	} {
		err := admin.Create(t.Context(), plexLinkWith(t, w.namespace, spec), client.FieldValidation("Strict"))
		if err == nil {
			_ = admin.Delete(t.Context(), plexLinkWith(t, w.namespace, "{}"))
		}
		if !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.100s: got %v, want %q", spec, err, want)
		}
		refused = append(refused, causesOf(err)...)
	}
	named := plexLinkWith(t, w.namespace, "{}")
	named.SetName(long[:64])
	err := admin.Create(t.Context(), named)
	if err == nil || !strings.Contains(err.Error(), "choose a shorter name") {
		t.Errorf("a name of 64 characters: got %v, want it rejected", err)
	}
	checkEveryRuleIsBroken(t, append(refused, causesOf(err)...))
}

func TestGoodSpecIsAccepted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, spec := range []string{
		`{}`,
		`{"device": {"product": "Tautulli", "name": "Tautulli (cluster)"}}`,
		`{"device": {"importSecretRef": {"name": "backup"}}}`,
		`{"account": {"username": "alice"}}`, `{"account": {"uuid": "0123"}}`,
		`{"server": {"url": "http://plex.media.svc:32400"}}`,
		`{"server": {"url": "https://media.example.com/plex/"}}`,
		`{"server": {"url": "http://[2001:db8::1]:32400/a%20b"}}`,
		`{"server": {"url": "http://192.0.2.1:65535"}}`,
		`{"server": {"name": "Плекс \"1\"", "locations": ["Remote", "Local", "Relay", "Cluster"], "schemes": ["HTTP", "HTTPS"]}}`,
		`{"server": {"caProvider": {"type": "ConfigMap", "name": "home-ca", "key": "root.pem"}}}`,
		`{"secret": {"name": "a.b", "template": {"type": "example.com/plex", "data": {".env": "", "_a-B.1": "x"}}}}`,
		`{"secret": {"template": {"metadata": {"labels": {"a": "", "example.com/b": "c"}, "annotations": {"reloader.stakater.com/match": "true"}}}}}`,
		`{"refreshInterval": "1m"}`, `{"refreshInterval": "1h30m"}`, `{"deletionPolicy": "Retain", "suspend": true}`,
	} {
		link := plexLinkWith(t, w.namespace, spec)
		if err := admin.Create(t.Context(), link, client.FieldValidation("Strict")); err != nil {
			t.Errorf("%s: got %v, want it accepted", spec, err)
			continue
		}
		if err := admin.Delete(t.Context(), link); err != nil {
			t.Error(err)
		}
	}
}

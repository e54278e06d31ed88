package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PlexLink links one device to a Plex account, the way a TV is linked, and maintains a Secret with a working token and a
// server URL that is reachable from the cluster.
//
// After `kubectl apply`, `kubectl get plexlink` shows a PIN of four characters. Enter it at https://plex.tv/link. The
// Secret appears within seconds and is kept up to date from then on. Pods that mount the Secret wait until it exists.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=plexlinks,shortName=plx,categories=plex
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="True when the Secret has a working token and address"
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Linked, or what keeps it from being linked"
// +kubebuilder:printcolumn:name="PIN",type=string,JSONPath=`.status.pin.code`,description="Enter this at https://plex.tv/link"
// +kubebuilder:printcolumn:name="Server",type=string,JSONPath=`.status.server.name`,description="The Plex Media Server that the Secret points to"
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.status.secretName`,description="The Secret that media apps use"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="URL",type=string,priority=1,JSONPath=`.status.server.url`,description="The address in the Secret"
// +kubebuilder:printcolumn:name="Location",type=string,priority=1,JSONPath=`.status.server.location`,description="The kind of that address"
// +kubebuilder:printcolumn:name="Account",type=string,priority=1,JSONPath=`.status.account.username`,description="The Plex account that entered the PIN"
// +kubebuilder:printcolumn:name="PIN-Expires",type=string,priority=1,JSONPath=`.status.pin.expirationTime`,description="When the PIN stops working"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="metadata.name may have at most 63 characters, because it becomes a label of the Secrets: choose a shorter name"
// +kubebuilder:validation:XValidation:rule="!has(self.spec) || !has(self.spec.secret) || !has(self.spec.secret.name) || self.spec.secret.name != self.metadata.name + '-plexlink-device'",message="spec.secret.name is the name of the Secret in which PlexLink keeps its own state: choose another name"
// +kubebuilder:validation:XValidation:rule="!has(self.spec) || !has(self.spec.device) || !has(self.spec.device.importSecretRef) || self.spec.device.importSecretRef.name != self.metadata.name + '-plexlink-device'",message="spec.device.importSecretRef is the Secret in which PlexLink keeps its own state: import from a Secret of another name"
// +kubebuilder:validation:XValidation:rule="!has(self.spec) || !has(self.spec.account) || !has(self.spec.account.linkRef) || self.spec.account.linkRef.name != self.metadata.name",message="spec.account.linkRef is this PlexLink itself: name another one, or remove linkRef"
type PlexLink struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is the desired state. Every field is optional: `spec: {}` works.
	// +optional
	Spec PlexLinkSpec `json:"spec,omitzero"`

	// status is the observed state, and what to do next.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status PlexLinkStatus `json:"status,omitzero"`
}

// PlexLinkSpec is the desired state of a PlexLink. Defaults are not written into it, so GitOps tools see no difference.
type PlexLinkSpec struct {
	// account limits which Plex account may enter the PIN, or lets this link follow another one without a PIN. Without it,
	// any account may enter the PIN.
	// +optional
	Account AccountSpec `json:"account,omitzero"`

	// device describes how this link appears under Authorized Devices in the Plex account, and where an earlier link can
	// be imported from.
	// +optional
	Device DeviceSpec `json:"device,omitzero"`

	// server selects the Plex Media Server and the address that apps use. Leave it out when the account owns one server.
	// With several, set name. The operator tries the addresses that the server advertises, best first, and writes one only
	// when that very server answers there and accepts the token. Set url when apps should use another address, such as a
	// Service in this cluster.
	// +optional
	Server ServerSpec `json:"server,omitzero"`

	// secret is the Secret that media apps use: its name, and with template its keys. By default it has the name of this
	// PlexLink and the keys PLEX_URL and PLEX_TOKEN.
	// +optional
	Secret SecretSpec `json:"secret,omitzero"`

	// refreshInterval is the time between two checks of the token and the server's address, such as `30m` or `6h`. At
	// least `1m`; default `1h`. It is varied by 10 percent, so that many links are not checked at the same time.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(s|m|h))+$') && duration(self) >= duration('1m')",message="refreshInterval must be a duration of at least 1m, such as 30m or 6h"
	RefreshInterval *metav1.Duration `json:"refreshInterval,omitempty"`

	// deletionPolicy is what happens to the Secrets when this PlexLink is deleted. `Revoke`, the default, signs the device
	// out at plex.tv, which invalidates the token everywhere, and deletes the Secrets. `Retain` keeps the token and the
	// Secrets; a new PlexLink of the same name takes them over without a new PIN.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// suspend stops all work on this link: no PIN is offered, nothing is checked or repaired. The Secret stays as it is.
	// Set it to false to resume.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// AccountSpec names a Plex account.
//
// +kubebuilder:validation:XValidation:rule="!has(self.username) || !has(self.uuid)",message="set username or uuid, not both: remove one of them"
// +kubebuilder:validation:XValidation:rule="!has(self.linkRef) || !has(self.username) && !has(self.uuid)",message="linkRef takes the account of another PlexLink: remove linkRef, or username and uuid"
// +kubebuilder:validation:XValidation:rule="!has(self.linkRef) || !has(self.allowLinkRefs) || !self.allowLinkRefs",message="a PlexLink with linkRef cannot be referred to itself: remove allowLinkRefs or linkRef, and let all of them refer to one PlexLink"
type AccountSpec struct {
	// username of the Plex account whose PIN is accepted. Matching is case-insensitive. A token of any other account is
	// signed out at plex.tv at once and never reaches the Secret. Set uuid instead for a managed user, which has no
	// username, and when the username may change.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	Username string `json:"username,omitempty"`

	// uuid of the Plex account whose PIN is accepted, as in status.account.uuid of a link.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	UUID string `json:"uuid,omitempty"`

	// linkRef names another PlexLink of this namespace whose account this link takes. The operator enters the PIN of this
	// link itself, with the token of that one, so no person has to: linking that one links all that refer to it, again
	// after "sign out everywhere" too. Token, device and Secret are this link's own and can be revoked alone. That
	// PlexLink must set allowLinkRefs, and may not have a linkRef. While it is not linked this one is `AwaitingAccount`.
	// Should plex.tv refuse to let the operator enter the PIN, the PIN is shown and works as any other.
	// +optional
	LinkRef *PlexLinkReference `json:"linkRef,omitempty"`

	// allowLinkRefs lets other PlexLinks of this namespace refer to this one with linkRef. Everyone who may create a
	// PlexLink in the namespace then gets a token of the account without a person entering a PIN. Default: false.
	// +optional
	AllowLinkRefs bool `json:"allowLinkRefs,omitempty"`
}

// PlexLinkReference names a PlexLink in the same namespace.
type PlexLinkReference struct {
	// name of the PlexLink.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="name must be a valid name of a PlexLink: lower-case letters, digits, dashes and dots"
	Name string `json:"name"`
}

// IsLimited reports whether the account limits who may enter the PIN.
func (a AccountSpec) IsLimited() bool { return a.Username != "" || a.UUID != "" || a.LinkRef != nil }

// DeviceSpec describes how the link appears under Authorized Devices in the Plex account.
type DeviceSpec struct {
	// product is the name of the app. Plex shows it under Authorized Devices. Default: `PlexLink`.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-~]([ -~]*[!-~])?$')",message="product is sent as an HTTP header: use letters, digits, spaces and punctuation of ASCII only, with no space at either end"
	Product string `json:"product,omitempty"`

	// name is the name of the device. Plex shows it under Authorized Devices. Default: `<name> (<namespace>)` of this
	// PlexLink.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-~]([ -~]*[!-~])?$')",message="name is sent as an HTTP header: use letters, digits, spaces and punctuation of ASCII only, with no space at either end"
	Name string `json:"name,omitempty"`

	// importSecretRef names a Secret with the keys `client-identifier` and `token` of an earlier link, for example a copy
	// of `<name>-plexlink-device`. A link without a token uses them once in place of a PIN, so a cluster that is rebuilt
	// from Git needs no person. When plex.tv refuses the token, a PIN is offered. Do not import into two links: they would
	// share one device, and signing one out signs out both.
	// +optional
	ImportSecretRef *SecretReference `json:"importSecretRef,omitempty"`
}

// SecretReference names a Secret in the namespace of the PlexLink.
type SecretReference struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="name must be a valid name of a Secret: lower-case letters, digits, dashes and dots"
	Name string `json:"name"`
}

// ServerSpec selects the Plex Media Server and the address that apps use.
//
// +kubebuilder:validation:XValidation:rule="!has(self.name) || !has(self.machineIdentifier)",message="set name or machineIdentifier, not both: remove one of them"
type ServerSpec struct {
	// name is the server's name as Plex shows it, for example `My Plex Server`. Matching is case-insensitive. When an owned
	// and a shared server have that name, the owned one is used; when it is still ambiguous, set machineIdentifier.
	// Without either, the only server that the account owns is used, else the only one that is shared with it. A server that
	// was reinstalled under this name replaces one that has not answered for a day. status.servers lists the choices.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name,omitempty"`

	// machineIdentifier is the server's unique and lasting identifier: it stays when the server is renamed.
	// status.servers lists the choices.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9._-]+$')",message="machineIdentifier has letters, digits, dots, dashes and underscores only: copy it from status.servers"
	MachineIdentifier string `json:"machineIdentifier,omitempty"`

	// url is used instead of the addresses that the server advertises, for example a Service in this cluster,
	// `http://plex.media.svc:32400`, or a reverse proxy, `https://media.example.com/plex`. It is verified like any other:
	// the selected server must answer there and accept the token. locations and schemes have no effect then.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != '' && !self.contains('?') && !self.contains('#') && !self.contains('@')",message="url must look like http://plex.media.svc:32400 or https://example.com/plex, without a user, a query or a fragment"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^/:]+://([^/:]+|[[][^/]+])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?(/.*)?$')",message="url must have a host, and no port or one from 1 to 65535"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-~]+$') && !self.contains('\"') && !self.contains('\\\\') && !self.contains('<') && !self.contains('>')",message="url may have no spaces, quotes or other characters that do not belong into a URL: encode them, as in %20"
	URL string `json:"url,omitempty"`

	// locations are the kinds of addresses that may be used, best first. `Cluster` addresses are Services of this cluster
	// that lead to the server, such as `http://plex.media.svc.cluster.local:32400`; they are used for servers that the
	// account owns. `Local` addresses are private ones in the server's own network, `Remote` ones are reached over the
	// internet, `Relay` goes through Plex's servers with little bandwidth. Default: `[Cluster, Local]`. The local addresses
	// of a shared server are in its owner's network: add `Remote` for it.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:XValidation:rule="self.all(l, self.exists_one(other, other == l))",message="locations has an entry twice: remove one"
	Locations []Location `json:"locations,omitempty"`

	// schemes are the URL schemes that may be used, best first: `HTTPS`, `HTTP`. Default: `[HTTPS, HTTP]`, but no HTTP to
	// public addresses, where others could read the token on its way: to allow it, list `HTTP` here. A server that
	// requires secure connections is never used over HTTP. Advertised HTTPS addresses need DNS that resolves plex.direct
	// to private addresses; where it does not, HTTP is used.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:XValidation:rule="self.all(s, self.exists_one(other, other == s))",message="schemes has an entry twice: remove one"
	Schemes []Scheme `json:"schemes,omitempty"`

	// verification is whether an address must be proven before it is written. `Required`, the default: the operator
	// reaches the server there and the server accepts the token. `Skip`: the best-ranked address is written unchecked, for
	// networks where apps can reach what the operator cannot. The conditions then call it unverified.
	// +optional
	Verification Verification `json:"verification,omitempty"`

	// caProvider names certificates (PEM) to trust besides the public ones, for a server behind a reverse proxy with a
	// private certificate authority. It applies to the operator's own checks; apps need the certificate too.
	// +optional
	CAProvider *CAProvider `json:"caProvider,omitempty"`
}

// CAProvider points to certificates in PEM form, in the namespace of the PlexLink.
type CAProvider struct {
	// type of the object: `Secret` or `ConfigMap`.
	// +required
	Type CAProviderType `json:"type"`

	// name of the Secret or ConfigMap.
	// +required
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="name must be a valid name of a Secret or ConfigMap: lower-case letters, digits, dashes and dots"
	Name string `json:"name"`

	// key in the object. Default: `ca.crt`.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$')",message="key may have letters, digits, dashes, dots and underscores only"
	Key string `json:"key,omitempty"`
}

// CAProviderType is the kind of object that holds certificates.
//
// +kubebuilder:validation:Enum=Secret;ConfigMap
type CAProviderType string

// The kinds of object that can hold certificates.
const (
	CAProviderSecret    CAProviderType = "Secret"
	CAProviderConfigMap CAProviderType = "ConfigMap"
)

// Location is a kind of address that a server advertises.
//
// +kubebuilder:validation:Enum=Cluster;Local;Remote;Relay
type Location string

// The values of Location.
const (
	LocationCluster Location = "Cluster"
	LocationLocal   Location = "Local"
	LocationRemote  Location = "Remote"
	LocationRelay   Location = "Relay"
)

// Scheme is a URL scheme.
//
// +kubebuilder:validation:Enum=HTTPS;HTTP
type Scheme string

// The values of Scheme.
const (
	SchemeHTTPS Scheme = "HTTPS"
	SchemeHTTP  Scheme = "HTTP"
)

// Verification is whether an address must be proven before it is written.
//
// +kubebuilder:validation:Enum=Required;Skip
type Verification string

// The values of Verification.
const (
	VerificationRequired Verification = "Required"
	VerificationSkip     Verification = "Skip"
)

// DeletionPolicy is what happens to the Secrets when a PlexLink is deleted.
//
// +kubebuilder:validation:Enum=Revoke;Retain
type DeletionPolicy string

// The values of DeletionPolicy.
const (
	DeletionPolicyRevoke DeletionPolicy = "Revoke"
	DeletionPolicyRetain DeletionPolicy = "Retain"
)

// SecretSpec describes the Secret that media apps use.
type SecretSpec struct {
	// name of the Secret, in the namespace of this PlexLink. Default: the name of this PlexLink. An existing Secret that
	// does not belong to this PlexLink is never overwritten.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="secret.name must be a valid name of a Secret: lower-case letters, digits, dashes and dots"
	Name string `json:"name,omitempty"`

	// template shapes the Secret: its keys, values, type, labels and annotations. Default: the keys PLEX_URL and
	// PLEX_TOKEN, which many apps read from their environment. Set data when your app expects other keys, or a file:
	// `data: {KOMETA_PLEX_URL: "{{ .URL }}", KOMETA_PLEX_TOKEN: "{{ .Token }}"}`.
	// +optional
	Template *SecretTemplate `json:"template,omitempty"`
}

// SecretTemplate shapes the Secret. Its fields are named as in External Secrets.
type SecretTemplate struct {
	// type of the Secret: `Opaque`, the default, or a type of your own such as `example.com/plex`. Types of Kubernetes
	// itself are refused, because some of them grant access to the cluster. The type of a Secret is immutable, so a change
	// deletes the Secret and creates it with the new type.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == 'Opaque' || (self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[-._a-zA-Z0-9]+$') && self.contains('.') && self.split('/')[0] != 'kubernetes.io' && !self.split('/')[0].endsWith('.kubernetes.io'))",message="type must be Opaque or a type with a domain of your own, such as example.com/plex; types of kubernetes.io are refused"
	Type string `json:"type,omitempty"`

	// metadata has labels and annotations to add to the Secret, for example for Stakater Reloader.
	// +optional
	Metadata SecretTemplateMetadata `json:"metadata,omitzero"`

	// data has the keys of the Secret, each with a Go template for its value. When set, the Secret has exactly these
	// keys, without PLEX_URL and PLEX_TOKEN. At least one key must use a value of the link. A key can be the name of an environment variable
	// (`TAUTULLI_PMS_IP: "{{ .Host }}"`, used with envFrom) or of a file (`config.yml`, mounted as a volume).
	//
	// Values: `.URL` (without a slash at the end) and its parts `.Scheme`, `.Host`, `.Port`, `.Path`; `.Token`, the
	// token for this server; `.AccountToken`, the token of the whole account, for plex.tv; `.ClientIdentifier`;
	// `.Server.Name`, `.Server.MachineIdentifier`, `.Server.Version`, `.Server.Owned`; `.Account.Username`,
	// `.Account.UUID`. All are text but `.Server.Owned`, which is true or false. `.Port` is never empty, `.Path` mostly
	// is, and `.Host` has no brackets around an IPv6 address.
	//
	// Functions: `toJson`, `toYaml`, `urlquery`, `b64enc`, `list`, `join`, `default`, `onOff`, `lower`, `upper`, `replace`,
	// `trimPrefix`, `trimSuffix`, and of Go templates `if`, `else`, `with`, `and`, `or`, `not`, `eq`, `ne`, `lt`, `le`,
	// `gt`, `ge`, `len`. `onOff` makes `on` or `off` of true or false.
	//
	// In keys that end in .yaml, .yml, .json or .toml write `name: {{ .Server.Name | toJson }}`, without quotes of your
	// own: names are chosen by people, and quotes and line breaks in them must stay data. A template that uses a name
	// there without toJson or toYaml is refused.
	//
	// All keys and texts together may have 128 KiB and 2,000 actions. A mistake is reported as status InvalidTemplate, with
	// key and line, before a PIN is offered. In a Helm chart write `{{ "{{ .URL }}" }}`, or Helm replaces `{{ .URL }}`
	// with nothing.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.size() <= 253 && k.matches('^[-._a-zA-Z0-9]+$') && k != '.' && !k.startsWith('..'))",message="each key of data may have letters, digits, dashes, dots and underscores only, 253 at most, and may not be . or begin with .."
	// +kubebuilder:validation:XValidation:rule="self.map(k, k.size() + self[k].size()).sum() <= 131072",message="all keys and templates of data together may have at most 128 KiB: shorten them, or mount a ConfigMap for what does not change"
	Data map[string]TemplateText `json:"data,omitempty"`
}

// TemplateText is a Go template for one value of the Secret.
//
// +kubebuilder:validation:MaxLength=65536
type TemplateText string

// SecretTemplateMetadata is added to the Secret's metadata.
type SecretTemplateMetadata struct {
	// labels to add to the Secret. Those of PlexLink itself cannot be set.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, k != 'app.kubernetes.io/managed-by' && !k.startsWith('plexlink.dev/'))",message="labels may not contain app.kubernetes.io/managed-by or plexlink.dev/…: PlexLink needs them itself, remove them"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !format.qualifiedName().validate(k).hasValue() && !format.labelValue().validate(self[k]).hasValue())",message="each label must have a valid name, and a value of at most 63 letters, digits, dashes, dots and underscores"
	Labels map[string]LabelValue `json:"labels,omitempty"`

	// annotations to add to the Secret, for example `reloader.stakater.com/match: "true"`, with which Stakater Reloader
	// restarts Pods when the Secret changes. Those of PlexLink itself cannot be set.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('plexlink.dev/'))",message="annotations may not contain plexlink.dev/…: PlexLink needs them itself, remove them"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !format.qualifiedName().validate(k).hasValue())",message="each annotation must have a valid name, such as example.com/name"
	Annotations map[string]AnnotationValue `json:"annotations,omitempty"`
}

// LabelValue is the value of a label.
//
// +kubebuilder:validation:MaxLength=63
type LabelValue string

// AnnotationValue is the value of an annotation.
//
// +kubebuilder:validation:MaxLength=4096
type AnnotationValue string

// PlexLinkStatus is the observed state of a PlexLink. It is output only: all of it is rebuilt, so a backup does not need
// it.
type PlexLinkStatus struct {
	// observedGeneration is the generation of the spec that this status describes; -1 before the operator has seen it.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions describe the progress of the link. `Ready` sums up: its reason is the STATUS of `kubectl get`, its message
	// says what happened and what to do. `Authorized`: a person has entered the PIN and the token works.
	// `ServerResolved`: the server is selected and an address is proven. `SecretSynced`: the Secret has the desired
	// content. `Reconciling` or `Stalled` while it is not Ready: the latter where only a change by a person helps.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// pin is the PIN to enter, while one is open.
	// +optional
	PIN *PINStatus `json:"pin,omitempty"`

	// account is the Plex account that entered the PIN.
	// +optional
	Account *AccountStatus `json:"account,omitempty"`

	// server is the selected server with its address.
	// +optional
	Server *ServerStatus `json:"server,omitempty"`

	// servers are the choices for spec.server: the servers that the account can use, at most 100.
	// +optional
	// +listType=map
	// +listMapKey=machineIdentifier
	// +kubebuilder:validation:MaxItems=100
	Servers []ServerChoice `json:"servers,omitempty"`

	// secretName is the name of the Secret that media apps use. Only once it exists.
	// +optional
	SecretName string `json:"secretName,omitempty"`

	// lastRefreshTime is when the token and the address were last found to work.
	// +optional
	LastRefreshTime *metav1.Time `json:"lastRefreshTime,omitempty"`

	// queuedTime is when this link began to wait for its turn to get a PIN. Only while it waits.
	// +optional
	QueuedTime *metav1.Time `json:"queuedTime,omitempty"`

	// lastHandledLinkRequest is the value of the annotation plexlink.dev/link-requested-at that was acted on last.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	LastHandledLinkRequest string `json:"lastHandledLinkRequest,omitempty"`

	// lastHandledRefreshRequest is the value of the annotation plexlink.dev/refresh-requested-at that was acted on last.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	LastHandledRefreshRequest string `json:"lastHandledRefreshRequest,omitempty"`
}

// PINStatus is an open PIN. None of it is secret: it only lets a person grant access to their own account.
type PINStatus struct {
	// code is what to enter: four characters.
	// +required
	Code string `json:"code"`

	// linkURL opens the page with the code filled in.
	// +required
	LinkURL string `json:"linkURL"`

	// qrURL is an image of a QR code to scan with a phone.
	// +optional
	QRURL string `json:"qrURL,omitempty"`

	// expirationTime is when the PIN stops working. It is replaced automatically, up to eight times in a row.
	// +required
	ExpirationTime metav1.Time `json:"expirationTime"`
}

// AccountStatus is a Plex account.
type AccountStatus struct {
	// username of the account.
	// +optional
	Username string `json:"username,omitempty"`

	// uuid of the account, which never changes.
	// +optional
	UUID string `json:"uuid,omitempty"`
}

// ServerStatus is the selected server with its address.
type ServerStatus struct {
	// name of the server, as Plex shows it.
	// +optional
	Name string `json:"name,omitempty"`

	// machineIdentifier of the server, unique and lasting.
	// +optional
	MachineIdentifier string `json:"machineIdentifier,omitempty"`

	// version of the server.
	// +optional
	Version string `json:"version,omitempty"`

	// owned is true for a server of the account itself, false for one that is shared with it.
	// +optional
	Owned bool `json:"owned"`

	// owner is the account that shares the server; empty for an owned one.
	// +optional
	Owner string `json:"owner,omitempty"`

	// location is the kind of address: Cluster, Local, Remote or Relay; empty for spec.server.url.
	// +optional
	Location Location `json:"location,omitempty"`

	// url is the address in the Secret.
	// +optional
	URL string `json:"url,omitempty"`
}

// ServerChoice is one server that the account can use.
type ServerChoice struct {
	// name of the server; not always unique.
	// +optional
	Name string `json:"name,omitempty"`

	// machineIdentifier of the server, for spec.server.machineIdentifier.
	// +required
	MachineIdentifier string `json:"machineIdentifier"`

	// owned is true for a server of the account itself, false for one that is shared with it.
	// +optional
	Owned bool `json:"owned"`

	// owner is the account that shares the server; empty for an owned one.
	// +optional
	Owner string `json:"owner,omitempty"`
}

// PlexLinkList is a list of PlexLinks.
//
// +kubebuilder:object:root=true
type PlexLinkList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []PlexLink `json:"items"`
}

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PlexLink links one device to a Plex account, the way a TV is linked, and keeps a Secret with a working token and a
// server URL that is reachable from the cluster.
//
// After `kubectl apply` it shows a PIN of four characters (`kubectl get plexlink`). Enter the PIN at
// https://plex.tv/link. The Secret appears within seconds and is kept right from then on. Pods that mount the Secret
// wait until it is there.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=plexlinks,shortName=plx,categories=plex
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Linked, or what keeps it from being linked"
// +kubebuilder:printcolumn:name="PIN",type=string,JSONPath=`.status.pin.code`,description="Enter this at https://plex.tv/link"
// +kubebuilder:printcolumn:name="Server",type=string,JSONPath=`.status.server.name`,description="The Plex Media Server that the Secret points to"
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.status.secretName`,description="The Secret that media apps use"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="URL",type=string,priority=1,JSONPath=`.status.server.uri`,description="The proven address of the server"
// +kubebuilder:printcolumn:name="Account",type=string,priority=1,JSONPath=`.status.account.username`,description="The Plex account that entered the PIN"
// +kubebuilder:printcolumn:name="PIN-Expires",type=string,priority=1,JSONPath=`.status.pin.expiresAt`,description="When the PIN stops working"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="metadata.name may have at most 63 characters, because it becomes a label of the Secrets: choose a shorter name"
// +kubebuilder:validation:XValidation:rule="!has(self.spec) || !has(self.spec.secret) || !has(self.spec.secret.name) || self.spec.secret.name != self.metadata.name + '-plexlink-device'",message="spec.secret.name is the name of the Secret in which PlexLink keeps its own state: choose another name"
// +kubebuilder:validation:XValidation:rule="(has(oldSelf.spec) && has(oldSelf.spec.device) && has(oldSelf.spec.device.clientIdentifier) ? oldSelf.spec.device.clientIdentifier : \"\") == (has(self.spec) && has(self.spec.device) && has(self.spec.device.clientIdentifier) ? self.spec.device.clientIdentifier : \"\")",message="spec.device.clientIdentifier cannot be changed, because the token belongs to it: delete this PlexLink and create it again"
type PlexLink struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec says what is wanted. Every field is optional: `spec: {}` works.
	// +optional
	Spec PlexLinkSpec `json:"spec,omitzero"`

	// status says what is, and what the person can do next.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status PlexLinkStatus `json:"status,omitzero"`
}

// PlexLinkSpec is what a person asks for. It has no defaults in the CRD, so that GitOps tools see no difference.
type PlexLinkSpec struct {
	// device is how this link appears under Authorized Devices in the Plex account.
	// +optional
	Device DeviceSpec `json:"device,omitzero"`

	// server chooses the Plex Media Server and the address that apps use. Leave it out when the account owns one server.
	// With several, set name. The address is chosen by itself: the operator tries those that the server advertises, best
	// first, and writes one only when that very server answers there and accepts the token. Where apps should use
	// another address, such as a Service in this cluster, set url.
	// +optional
	Server ServerSpec `json:"server,omitzero"`

	// secret is the Secret that media apps use: its name, and with template its keys. Left out, it has the name of this
	// PlexLink and the keys PLEX_URL and PLEX_TOKEN.
	// +optional
	Secret SecretSpec `json:"secret,omitzero"`

	// refreshInterval is how often the token and the server's address are checked, as in `30m` or `6h`. At least `1m`;
	// default `1h`. The times are spread by 10 percent, so that many links do not ask at once.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(s|m|h))+$') && duration(self) >= duration('1m')",message="refreshInterval must be a duration of at least 1m, such as 30m or 6h"
	RefreshInterval *metav1.Duration `json:"refreshInterval,omitempty"`

	// deletionPolicy is what happens to the Secrets when this PlexLink is deleted. `Revoke`, the default, signs out at
	// plex.tv, which makes the token useless everywhere, and deletes the Secrets. `Retain` keeps the token and the
	// Secrets; a new PlexLink of the same name takes them over without a new PIN.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// suspend stops everything: no PIN is offered, nothing is checked, nothing is repaired. The Secret stays as it is.
	// Set it to false to go on where it was.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// DeviceSpec is how the link appears under Authorized Devices in the Plex account.
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

	// clientIdentifier is the X-Plex-Client-Identifier of the device. It cannot be changed. Default: a random UUID, kept
	// in a Secret. Leave it out: who knows it and the number of an open PIN can collect the token, and two links with
	// the same one sign each other out. Set it only to take over the place of an app that is linked already.
	// +optional
	// +kubebuilder:validation:MinLength=8
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9._:-]+$')",message="clientIdentifier is sent as an HTTP header: use letters, digits, dots, colons, dashes and underscores only"
	ClientIdentifier string `json:"clientIdentifier,omitempty"`
}

// ServerSpec chooses the Plex Media Server and the address that apps use.
//
// +kubebuilder:validation:XValidation:rule="!has(self.name) || !has(self.machineIdentifier)",message="set name or machineIdentifier, not both: remove one of them"
type ServerSpec struct {
	// name is the server's name as Plex shows it, for example `My Plex Server`. Upper and lower case are the same. It
	// must be unique among the servers that the account can use; where it is not, use machineIdentifier. Without either,
	// the only server that the account owns is used, else the only one that others share with it. status.servers lists
	// what there is.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name,omitempty"`

	// machineIdentifier is the server's unique and lasting identifier: it stays when the server is renamed.
	// status.servers lists what there is.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9._-]+$')",message="machineIdentifier has letters, digits, dots, dashes and underscores only: copy it from status.servers"
	MachineIdentifier string `json:"machineIdentifier,omitempty"`

	// url is used instead of the addresses that the server advertises, for example a Service in this cluster,
	// `http://plex.media.svc:32400`, or a reverse proxy, `https://media.example.com/plex`. It is proven like any other:
	// the chosen server must answer there and accept the token. locations and schemes do not matter then.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != '' && !self.contains('?') && !self.contains('#') && !self.contains('@')",message="url must look like http://plex.media.svc:32400 or https://example.com/plex, without a user, a query or a fragment"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^/:]+://([^/:]+|[[][^/]+])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?(/.*)?$')",message="url must have a host, and no port or one from 1 to 65535"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-~]+$') && !self.contains('\"') && !self.contains('\\\\') && !self.contains('<') && !self.contains('>')",message="url may have no spaces, quotes or other characters that do not belong into a URL: encode them, as in %20"
	URL string `json:"url,omitempty"`

	// locations are the kinds of advertised addresses that may be used, best first. `Local` are private addresses in the
	// server's own network, `Remote` are reached over the internet, `Relay` goes through Plex's servers with little
	// bandwidth. Default: `[Local]`. The local addresses of a server that somebody else shares are in their network: add
	// `Remote` for it.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=3
	// +kubebuilder:validation:XValidation:rule="self.all(l, self.exists_one(other, other == l))",message="locations has an entry twice: remove one"
	Locations []Location `json:"locations,omitempty"`

	// schemes are the URL schemes that may be used, best first: `https`, `http`. Default: `[https, http]`. A server
	// that requires secure connections is never used over http. Advertised https addresses need DNS that resolves
	// plex.direct to private addresses; where it does not, http is used.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:XValidation:rule="self.all(s, self.exists_one(other, other == s))",message="schemes has an entry twice: remove one"
	Schemes []Scheme `json:"schemes,omitempty"`

	// verification says whether an address must be proven before it is written. `Required`, the default: the operator
	// reaches the server there and the server accepts the token. `Skip`: the best-ranked address is written unseen, for
	// networks where apps can reach what the operator cannot. The conditions say then that it is unverified.
	// +optional
	Verification Verification `json:"verification,omitempty"`

	// caProvider names certificates (PEM) to trust besides the public ones, for a server behind a reverse proxy with a
	// private certificate authority. It counts for the operator's own checks; apps need the certificate too.
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
// +kubebuilder:validation:Enum=Local;Remote;Relay
type Location string

// Scheme is a URL scheme.
//
// +kubebuilder:validation:Enum=https;http
type Scheme string

// Verification says whether an address must be proven before it is written.
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
	// name of the Secret, in the namespace of this PlexLink. Default: the name of this PlexLink. A Secret of that name
	// that belongs to somebody else is never touched.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="secret.name must be a valid name of a Secret: lower-case letters, digits, dashes and dots"
	Name string `json:"name,omitempty"`

	// template shapes the Secret: its keys, values, type, labels and annotations. Default: the keys PLEX_URL and
	// PLEX_TOKEN, which many apps read from their environment. Set data when your app wants other keys, or a file:
	// `data: {KOMETA_PLEX_URL: "{{ .URL }}", KOMETA_PLEX_TOKEN: "{{ .Token }}"}`.
	// +optional
	Template *SecretTemplate `json:"template,omitempty"`
}

// SecretTemplate shapes the Secret, in the words of External Secrets.
type SecretTemplate struct {
	// type of the Secret: `Opaque`, the default, or a type of your own such as `example.com/plex`. Types of Kubernetes
	// itself are refused, because some of them grant access to the cluster. A change needs the Secret to be deleted.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == 'Opaque' || (self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[-._a-zA-Z0-9]+$') && self.contains('.') && self.split('/')[0] != 'kubernetes.io' && !self.split('/')[0].endsWith('.kubernetes.io'))",message="type must be Opaque or a type with a domain of your own, such as example.com/plex; types of kubernetes.io are refused"
	Type string `json:"type,omitempty"`

	// metadata has labels and annotations to add to the Secret, for example for Stakater Reloader.
	// +optional
	Metadata SecretTemplateMetadata `json:"metadata,omitzero"`

	// data has the keys of the Secret, each with a Go template for its value. When it is set, the Secret has exactly
	// these keys, and not PLEX_URL and PLEX_TOKEN. A key can be the name of an environment variable
	// (`TAUTULLI_PMS_IP: "{{ .Host }}"`, used with envFrom) or of a file (`config.yml`, mounted as a volume).
	//
	// Values: `.URL` (without a slash at the end) and its parts `.Scheme`, `.Host`, `.Port`, `.Path`; `.Token`, the
	// token for this server; `.AccountToken`, the token of the whole account, which plex.tv wants; `.ClientIdentifier`;
	// `.Server.Name`, `.Server.MachineIdentifier`, `.Server.Version`, `.Server.Owned`; `.Account.Username`,
	// `.Account.UUID`. All are text but `.Server.Owned`, which is true or false. `.Port` is never empty, `.Path` mostly
	// is, and `.Host` has no brackets around an IPv6 address.
	//
	// Functions: `toJson`, `toYaml`, `urlquery`, `b64enc`, `list`, `join`, `default`, `onOff`, `lower`, `upper`, `replace`,
	// `trimPrefix`, `trimSuffix`, and of Go templates `if`, `else`, `with`, `and`, `or`, `not`, `eq`, `ne`, `lt`, `le`,
	// `gt`, `ge`, `len`. `onOff` makes `on` or `off` of true or false.
	//
	// In keys that end in .yaml, .yml, .json or .toml write `name: {{ .Server.Name | toJson }}`, without quotes of your
	// own: names are chosen by people, and quotes and line breaks in them must stay data. A template that puts a name
	// there without toJson or toYaml is refused.
	//
	// A mistake shows as the status InvalidTemplate, with key and line, before anybody has to enter a PIN.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.size() <= 253 && k.matches('^[-._a-zA-Z0-9]+$') && k != '.' && !k.startsWith('..'))",message="each key of data may have letters, digits, dashes, dots and underscores only, 253 at most, and may not be . or begin with .."
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

// PlexLinkStatus is what the operator found and did. All of it can be rebuilt, so a backup does not need it.
type PlexLinkStatus struct {
	// observedGeneration is the generation of the spec that this status is about; -1 before the operator has seen it.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions say how far the link is. `Ready` sums up: its reason is the STATUS of `kubectl get`, its message says
	// what happened and what to do. `Authorized`: a person has entered the PIN and the token works. `ServerResolved`:
	// the server is chosen and an address is proven. `Reconciling` or `Stalled` while it is not Ready: the latter where
	// only a change by a person helps.
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

	// server is the chosen server with its proven address.
	// +optional
	Server *ServerStatus `json:"server,omitempty"`

	// servers are those that spec.server can choose from.
	// +optional
	// +listType=atomic
	Servers []ServerChoice `json:"servers,omitempty"`

	// secretName is the Secret that media apps use.
	// +optional
	SecretName string `json:"secretName,omitempty"`

	// lastRefreshTime is when the token and the address were last found to work.
	// +optional
	LastRefreshTime *metav1.Time `json:"lastRefreshTime,omitempty"`

	// queuedSince is when this link began to wait for its turn to get a PIN. Only while it waits.
	// +optional
	QueuedSince *metav1.MicroTime `json:"queuedSince,omitempty"`
}

// PINStatus is an open PIN. None of it is secret: it lets a person grant access to their own account, nothing else.
type PINStatus struct {
	// code is what to enter: four characters.
	// +required
	Code string `json:"code"`

	// linkURL opens the page with the code filled in.
	// +required
	LinkURL string `json:"linkURL"`

	// qrURL is a picture of a QR code to scan with a phone.
	// +optional
	QRURL string `json:"qrURL,omitempty"`

	// expiresAt is when the PIN stops working. A new one follows by itself, up to eight in a row.
	// +required
	ExpiresAt metav1.Time `json:"expiresAt"`
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

// ServerStatus is the chosen server with its address.
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

	// owned is false for a server that somebody else shares.
	// +optional
	Owned bool `json:"owned"`

	// location is the kind of address: Local, Remote or Relay; empty for spec.server.url.
	// +optional
	Location Location `json:"location,omitempty"`

	// uri is the address that is in the Secret.
	// +optional
	URI string `json:"uri,omitempty"`
}

// ServerChoice is one server of the account.
type ServerChoice struct {
	// name of the server; not always unique.
	// +optional
	Name string `json:"name,omitempty"`

	// machineIdentifier of the server, for spec.server.machineIdentifier.
	// +required
	MachineIdentifier string `json:"machineIdentifier"`

	// owned is false for a server that somebody else shares.
	// +optional
	Owned bool `json:"owned"`
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

package v1alpha1

// The types of conditions of a PlexLink. Reconciling and Stalled have the meaning that kstatus gives them.
const (
	ConditionReady          = "Ready"
	ConditionAuthorized     = "Authorized"
	ConditionServerResolved = "ServerResolved"
	ConditionSecretSynced   = "SecretSynced"
	ConditionReconciling    = "Reconciling"
	ConditionStalled        = "Stalled"
)

// The reasons of the condition Ready. ReasonLinked is the only one with status True.
const (
	// ReasonLinked: the Secret has a working token and a proven address.
	ReasonLinked = "Linked"
	// ReasonAwaitingLink: a person has to enter the PIN.
	ReasonAwaitingLink = "AwaitingLink"
	// ReasonQueued: other links have PINs open; this one gets a PIN when its turn comes.
	ReasonQueued = "Queued"
	// ReasonPINExpired: all PINs expired before they were entered; a new one is offered on request.
	ReasonPINExpired = "PINExpired"
	// ReasonTokenRevoked: the account has signed the device out; a new PIN is offered.
	ReasonTokenRevoked = "TokenRevoked"
	// ReasonWrongAccount: the PIN was entered by an account that spec.account does not ask for; a new PIN is offered.
	ReasonWrongAccount = "WrongAccount"
	// ReasonImportUnavailable: the Secret of spec.device.importSecretRef does not exist or has not the keys it needs.
	ReasonImportUnavailable = "ImportUnavailable"
	// ReasonImportRefused: the imported token cannot be used; a PIN is offered.
	ReasonImportRefused = "ImportRefused"
	// ReasonAwaitingAccount: the PlexLink of spec.account.linkRef has to be linked first; this one follows.
	ReasonAwaitingAccount = "AwaitingAccount"
	// ReasonAccountUnavailable: the PlexLink of spec.account.linkRef does not exist, or may not be referred to.
	ReasonAccountUnavailable = "AccountUnavailable"
	// ReasonServerNotFound: the account has no server that matches spec.server.
	ReasonServerNotFound = "ServerNotFound"
	// ReasonServerAmbiguous: several servers match spec.server.
	ReasonServerAmbiguous = "ServerAmbiguous"
	// ReasonServerUnreachable: no address of the server is proven.
	ReasonServerUnreachable = "ServerUnreachable"
	// ReasonTokenRejected: the server was reached and does not accept the token.
	ReasonTokenRejected = "TokenRejected"
	// ReasonSecretConflict: a Secret of that name belongs to another owner.
	ReasonSecretConflict = "SecretConflict"
	// ReasonSecretContested: another client keeps changing the Secret.
	ReasonSecretContested = "SecretContested"
	// ReasonSecretRefused: the API server refuses a Secret of the link, for example because of a quota, an admission
	// check or a missing permission.
	ReasonSecretRefused = "SecretRefused"
	// ReasonInvalidTemplate: spec.secret.template cannot be rendered.
	ReasonInvalidTemplate = "InvalidTemplate"
	// ReasonPlexUnavailable: plex.tv is not responding as expected, and the link was not Ready before.
	ReasonPlexUnavailable = "PlexUnavailable"
	// ReasonSuspended: spec.suspend is true.
	ReasonSuspended = "Suspended"
)

// More reasons of the conditions that Ready sums up.
const (
	// ReasonAuthorized: the token works.
	ReasonAuthorized = "Authorized"
	// ReasonRelinking: the token works, and a new PIN was requested that has not been entered yet.
	ReasonRelinking = "Relinking"
	// ReasonProven: the server answers at its address and accepts the token.
	ReasonProven = "Proven"
	// ReasonUnverified: the address was not checked, because spec.server.verification is Skip.
	ReasonUnverified = "Unverified"
	// ReasonSynced: the Secret has the desired content.
	ReasonSynced = "Synced"
)

// The names that PlexLink puts on objects.
const (
	// Finalizer keeps a PlexLink until its device is signed out at plex.tv.
	Finalizer = "plexlink.dev/sign-out"
	// LinkRequestedAtAnnotation asks for a new PIN whenever its value changes.
	LinkRequestedAtAnnotation = "plexlink.dev/link-requested-at"
	// RefreshRequestedAtAnnotation asks for a check of token and address whenever its value changes.
	RefreshRequestedAtAnnotation = "plexlink.dev/refresh-requested-at"
	// ReleasedAtAnnotation is when `manager --uninstall` removed the finalizer (RFC 3339). An operator that was started
	// before does not put it back.
	ReleasedAtAnnotation = "plexlink.dev/released-at"
	// ManagedByLabel with the value ManagedBy is on every Secret that PlexLink writes.
	ManagedByLabel = "app.kubernetes.io/managed-by"
	// ManagedBy is the field manager and the value of ManagedByLabel.
	ManagedBy = "plexlink"
	// NameLabel is the name of the PlexLink that a Secret belongs to.
	NameLabel = "plexlink.dev/name"
	// UIDLabel is the UID of the PlexLink that a Secret belongs to: names are reused, UIDs are not.
	UIDLabel = "plexlink.dev/uid"
	// DeviceSecretSuffix ends the name of the Secret that holds the state of a link.
	DeviceSecretSuffix = "-plexlink-device"
	// DeviceSecretType is the type of that Secret.
	DeviceSecretType = "plexlink.dev/device"
)

// MaxRequestLength is the longest value of LinkRequestedAtAnnotation and RefreshRequestedAtAnnotation that is acted on,
// in characters.
const MaxRequestLength = 256

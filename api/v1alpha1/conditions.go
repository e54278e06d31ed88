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

// Reasons of the condition Ready. ReasonLinked is the only one with status True.
const (
	// ReasonLinked: the Secret has a working token and a proven address.
	ReasonLinked = "Linked"
	// ReasonAwaitingLink: a person has to enter the PIN.
	ReasonAwaitingLink = "AwaitingLink"
	// ReasonQueued: other links have PINs open; this one gets a PIN when its turn comes.
	ReasonQueued = "Queued"
	// ReasonPINExpired: every PIN expired before it was entered; a new one is minted on request.
	ReasonPINExpired = "PINExpired"
	// ReasonTokenRevoked: the device was signed out of the account; enter the new PIN.
	ReasonTokenRevoked = "TokenRevoked"
	// ReasonWrongAccount: the account that entered the PIN does not match spec.account; enter the new PIN.
	ReasonWrongAccount = "WrongAccount"
	// ReasonImportUnavailable: the Secret of spec.device.importSecretRef does not exist or lacks a key.
	ReasonImportUnavailable = "ImportUnavailable"
	// ReasonImportRefused: the imported token cannot be used; enter the PIN.
	ReasonImportRefused = "ImportRefused"
	// ReasonAwaitingAccount: the PlexLink of spec.account.linkRef is not linked yet; this one is linked after it.
	ReasonAwaitingAccount = "AwaitingAccount"
	// ReasonAccountUnavailable: the PlexLink of spec.account.linkRef does not exist or does not allow references.
	ReasonAccountUnavailable = "AccountUnavailable"
	// ReasonServerNotFound: the account has no server that matches spec.server.
	ReasonServerNotFound = "ServerNotFound"
	// ReasonServerAmbiguous: several servers match spec.server.
	ReasonServerAmbiguous = "ServerAmbiguous"
	// ReasonServerUnreachable: no address of the server could be verified.
	ReasonServerUnreachable = "ServerUnreachable"
	// ReasonTokenRejected: the server was reached and rejected the token.
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

// Reasons of the conditions that Ready summarizes.
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

// Names that PlexLink sets on objects.
const (
	// Finalizer keeps a PlexLink until its device is signed out at plex.tv.
	Finalizer = "plexlink.dev/sign-out"
	// LinkRequestedAtAnnotation requests a new PIN whenever its value changes.
	LinkRequestedAtAnnotation = "plexlink.dev/link-requested-at"
	// RefreshRequestedAtAnnotation requests a check of the token and the address whenever its value changes.
	RefreshRequestedAtAnnotation = "plexlink.dev/refresh-requested-at"
	// ReleasedAtAnnotation is the time at which `manager --uninstall` removed the finalizer (RFC 3339). An operator that was
	// already running does not add it again.
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

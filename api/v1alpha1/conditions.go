package v1alpha1

// The types of conditions of a PlexLink. Reconciling and Stalled have the meaning that kstatus gives them.
const (
	ConditionReady          = "Ready"
	ConditionAuthorized     = "Authorized"
	ConditionServerResolved = "ServerResolved"
	ConditionReconciling    = "Reconciling"
	ConditionStalled        = "Stalled"
)

// The reasons of the condition Ready. ReasonLinked is the only one with status True.
const (
	// ReasonLinked: the Secret has a working token and a proven address.
	ReasonLinked = "Linked"
	// ReasonAwaitingLink: a person has to enter the PIN.
	ReasonAwaitingLink = "AwaitingLink"
	// ReasonQueued: other links have PINs open; this one gets its own when it is its turn.
	ReasonQueued = "Queued"
	// ReasonPINExpired: nobody entered any of the PINs; a new one is offered on request.
	ReasonPINExpired = "PINExpired"
	// ReasonTokenRevoked: the account has signed the device out; a new PIN is offered.
	ReasonTokenRevoked = "TokenRevoked"
	// ReasonServerNotFound: the account has no server that fits spec.server.
	ReasonServerNotFound = "ServerNotFound"
	// ReasonServerAmbiguous: several servers fit spec.server.
	ReasonServerAmbiguous = "ServerAmbiguous"
	// ReasonServerUnreachable: no address of the server is proven.
	ReasonServerUnreachable = "ServerUnreachable"
	// ReasonTokenRejected: the server was reached and does not accept the token.
	ReasonTokenRejected = "TokenRejected"
	// ReasonSecretConflict: a Secret of that name belongs to somebody else.
	ReasonSecretConflict = "SecretConflict"
	// ReasonSecretRefused: a quota or an admission check of the cluster keeps the Secret out.
	ReasonSecretRefused = "SecretRefused"
	// ReasonInvalidTemplate: spec.secret.template cannot be rendered.
	ReasonInvalidTemplate = "InvalidTemplate"
	// ReasonPlexUnavailable: plex.tv does not answer properly, and the link was not Ready before.
	ReasonPlexUnavailable = "PlexUnavailable"
	// ReasonSuspended: spec.suspend is true.
	ReasonSuspended = "Suspended"
)

// The names that PlexLink puts on objects.
const (
	// Finalizer keeps a PlexLink until its device is signed out at plex.tv.
	Finalizer = "plexlink.dev/sign-out"
	// LinkRequestedAtAnnotation asks for a new PIN, whenever its value changes.
	LinkRequestedAtAnnotation = "plexlink.dev/link-requested-at"
	// ManagedByLabel with the value ManagedBy is on every Secret that PlexLink writes.
	ManagedByLabel = "app.kubernetes.io/managed-by"
	// ManagedBy is the field manager and the value of ManagedByLabel.
	ManagedBy = "plexlink"
	// NameLabel has the name of the PlexLink that a Secret belongs to.
	NameLabel = "plexlink.dev/name"
	// UIDLabel has the UID of the PlexLink that a Secret belongs to: names are used again, UIDs are not.
	UIDLabel = "plexlink.dev/uid"
	// DeviceSecretSuffix ends the name of the Secret that holds the state of a link.
	DeviceSecretSuffix = "-plexlink-device"
	// DeviceSecretType is the type of that Secret.
	DeviceSecretType = "plexlink.dev/device"
)

package controller

import (
	"errors"
	"slices"

	"plexlink.dev/operator/api/v1alpha1"
)

// obstacle keeps a link from being Ready. A step returns one to skip the steps after it; deriveStatus shows it.
type obstacle struct {
	reason  string
	message string
	// passing means that it may resolve without a person, although others with the same reason do not.
	passing bool
	// harmless means that the Secret still has what apps need, so a settled link stays Ready.
	harmless bool
}

// Error returns the message of the obstacle.
func (o *obstacle) Error() string { return o.message }

// obstacleKind is the meaning of the reason of an obstacle.
type obstacleKind struct {
	reason string
	// condition that the obstacle makes False, besides Ready; "" if none.
	condition string
	// stalled means that only a change by a person helps. kstatus treats a Stalled object as failed, so a link that waits
	// for its PIN is not Stalled.
	stalled bool
}

// obstacles lists what can keep a link from being Ready, in the order of the steps.
var obstacles = []obstacleKind{
	{v1alpha1.ReasonSuspended, "", false},
	{v1alpha1.ReasonSecretRefused, v1alpha1.ConditionSecretSynced, true},
	{v1alpha1.ReasonSecretConflict, v1alpha1.ConditionSecretSynced, true},
	{v1alpha1.ReasonInvalidTemplate, v1alpha1.ConditionSecretSynced, true},
	{v1alpha1.ReasonWrongAccount, v1alpha1.ConditionAuthorized, false},
	{v1alpha1.ReasonImportUnavailable, v1alpha1.ConditionAuthorized, false},
	{v1alpha1.ReasonImportRefused, v1alpha1.ConditionAuthorized, false},
	{v1alpha1.ReasonAccountUnavailable, v1alpha1.ConditionAuthorized, false},
	{v1alpha1.ReasonAwaitingAccount, v1alpha1.ConditionAuthorized, false},
	{v1alpha1.ReasonTokenRevoked, v1alpha1.ConditionAuthorized, false},
	{v1alpha1.ReasonPINExpired, v1alpha1.ConditionAuthorized, true},
	{v1alpha1.ReasonQueued, v1alpha1.ConditionAuthorized, false},
	{v1alpha1.ReasonAwaitingLink, v1alpha1.ConditionAuthorized, false},
	{v1alpha1.ReasonPlexUnavailable, v1alpha1.ConditionAuthorized, false},
	{v1alpha1.ReasonServerNotFound, v1alpha1.ConditionServerResolved, true},
	{v1alpha1.ReasonServerAmbiguous, v1alpha1.ConditionServerResolved, true},
	{v1alpha1.ReasonServerUnreachable, v1alpha1.ConditionServerResolved, false},
	{v1alpha1.ReasonTokenRejected, v1alpha1.ConditionServerResolved, false},
	{v1alpha1.ReasonSecretContested, v1alpha1.ConditionSecretSynced, false},
}

// kind returns the meaning of the obstacle's reason.
func (o *obstacle) kind() obstacleKind {
	i := slices.IndexFunc(obstacles, func(k obstacleKind) bool { return k.reason == o.reason })
	if i < 0 {
		return obstacleKind{reason: o.reason}
	}
	return obstacles[i]
}

// stalled reports whether only a change by a person helps.
func (o *obstacle) stalled() bool { return o.kind().stalled && !o.passing }

// errLater means that the step continues when the budget, or a worker, is free again. Nothing known changes until then.
var errLater = errors.New("waiting for the budget of requests to plex.tv")

package controller

import (
	"context"
	"errors"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"

	"plexlink.dev/operator/internal/pace"
	"plexlink.dev/operator/internal/plex"
)

const (
	// pingInterval is the time between two pings, which keep a token from expiring. Unused tokens have expired after three
	// weeks; clients that keep tokens ping about once a day.
	pingInterval = 24 * time.Hour
	// pingRetryLimit is the longest back-off after failed pings.
	pingRetryLimit = time.Hour
	// accountRetryLimit is the longest back-off while the account of a received token is unknown.
	accountRetryLimit = 30 * time.Second
	// signOutPatience is how long signing a token out is attempted, so that neither a deletion nor a new PIN waits forever.
	signOutPatience = 5 * time.Minute
	// signOutRetryLimit is the longest back-off between these attempts.
	signOutRetryLimit = 30 * time.Second
)

// identifyPending looks up the account of the received token, and accepts the token only if it matches spec.account.
func (r *Reconciler) identifyPending(ctx context.Context, s *scope) error {
	if s.state.PendingToken == "" {
		return nil
	}
	if wait := r.pace.Remaining(s.pace(), pace.IdentifyAccount, s.now); wait > 0 {
		s.requeue(wait)
		return nil
	}
	account, err := ask(ctx, r, s, pace.Entered, "user", func(ctx context.Context) (plex.Account, error) {
		return r.Plex.Account(ctx, s.plexDevice(), s.state.PendingToken)
	})
	switch class := plex.Classify(err); {
	case errors.Is(err, errLater):
		return nil
	case class == plex.ClassTokenInvalid:
		s.state = s.state.pendingInvalid(s.now)
	case err != nil:
		log.FromContext(ctx).Info("plex.tv did not identify the account; retrying", "error", err.Error())
		s.requeue(r.pace.Failed(s.pace(), pace.IdentifyAccount, accountRetryLimit, s.now))
		return nil
	case s.accepts(account):
		s.state = s.state.accountAccepted(account, s.now)
	default:
		s.state = s.state.strangerEntered(account, s.now)
	}
	r.pace.Succeeded(s.pace(), pace.IdentifyAccount)
	if err := r.save(ctx, s); err != nil {
		return err
	}
	if s.state.StrayToken != "" && s.state.Stranger != "" {
		s.tell(wrongAccount(s.state.Stranger, s.account()))
	}
	return nil
}

// signOutStray signs out a token that the link received and must not keep: one of an account that does not match
// spec.account, or of the account that was linked before.
func (r *Reconciler) signOutStray(ctx context.Context, s *scope) error {
	undecided := s.state.StrayOf != (plex.Account{}) && s.state.Account == (plex.Account{})
	if s.state.StrayToken == "" || undecided {
		return nil
	}
	if !r.signOut(ctx, s, s.state.StrayToken, pace.SignOut) {
		return nil
	}
	s.state = s.state.strayGone()
	return r.save(ctx, s)
}

// signOut invalidates a token everywhere, and reports whether that is done or was given up, signOutPatience after the first
// attempt of its task.
func (r *Reconciler) signOut(ctx context.Context, s *scope, token plex.Sensitive, task pace.Task) bool {
	if wait := r.pace.Remaining(s.pace(), pace.SignOut, s.now); wait > 0 {
		s.requeue(wait)
		return false
	}
	overdue := r.sinceFirst(s, task, signOutPatience)
	_, err := ask(ctx, r, s, pace.Ordinary, "signout", func(ctx context.Context) (struct{}, error) {
		return struct{}{}, r.Plex.SignOut(ctx, s.plexDevice(), token)
	})
	switch class := plex.Classify(err); {
	case errors.Is(err, errLater) && !overdue:
		return false
	case err == nil, class == plex.ClassTokenInvalid:
		r.pace.Succeeded(s.pace(), pace.SignOut)
		return true
	case overdue:
		r.pace.Succeeded(s.pace(), pace.SignOut)
		s.tell(signOutGivenUp())
		return true
	}
	log.FromContext(ctx).Info("Could not sign the device out; retrying", "error", err.Error())
	s.requeue(r.pace.Failed(s.pace(), pace.SignOut, signOutRetryLimit, s.now))
	return false
}

// pingToken pings with the token once a day, and whenever a link that refers to this one needs proof that it works.
func (r *Reconciler) pingToken(ctx context.Context, s *scope) error {
	if !s.state.authorized() {
		return nil
	}
	due, urgency, limit := sane(s.state.LastPing, s.now).Add(pingInterval).Sub(s.now), pace.Refresh, pingRetryLimit
	if r.memory.doubted(s.memory).After(s.state.provenAt()) { // Other links wait for it.
		due, urgency, limit = 0, pace.Entered, mintRetryLimit
	}
	if wait := max(due, r.pace.Remaining(s.pace(), pace.PingToken, s.now)); wait > 0 {
		s.requeue(wait)
		return nil
	}
	_, err := ask(ctx, r, s, urgency, "ping", func(ctx context.Context) (struct{}, error) {
		return struct{}{}, r.Plex.Ping(ctx, s.plexDevice(), s.state.Token)
	})
	switch {
	case errors.Is(err, errLater):
		return nil
	case plex.Classify(err) == plex.ClassTokenInvalid:
		return r.revoked(ctx, s)
	case err != nil:
		if plex.Classify(err) == plex.ClassTokenRefused {
			s.state = s.state.tokenRefused(s.now)
		}
		log.FromContext(ctx).Info("Could not prolong the token; retrying", "error", err.Error())
		s.requeue(r.pace.Failed(s.pace(), pace.PingToken, limit, s.now))
		return nil
	}
	r.pace.Succeeded(s.pace(), pace.PingToken)
	s.state = s.state.pinged(s.now)
	s.requeue(pingInterval)
	return nil
}

// revoked records that plex.tv rejected the token. The Secret stays until a new token arrives, and a new PIN is minted at
// once.
func (r *Reconciler) revoked(ctx context.Context, s *scope) error {
	s.state = s.state.tokenRevoked(s.now)
	s.requeue(0)
	if err := r.save(ctx, s); err != nil {
		return err
	}
	return r.awaitPIN(s)
}

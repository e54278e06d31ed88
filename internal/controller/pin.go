package controller

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/pace"
	"plexlink.dev/operator/internal/plex"
)

const (
	// pollCeiling is the longest time between two polls of a PIN, whatever failed: an entered PIN lives ten seconds, so five
	// leave room for one failed poll.
	pollCeiling = 5 * time.Second
	// pinGrace is how long after its expiration a PIN is polled if plex.tv does not confirm that it expired.
	pinGrace = time.Minute
	// mintRetryLimit is the longest back-off after plex.tv refused to issue a PIN.
	mintRetryLimit = time.Minute
	// startInterval is how often a link checks whether all open PINs are known after a restart.
	startInterval = 250 * time.Millisecond
)

// pollPIN polls the open PIN when that is due. Afterwards there is a token, the PIN is still open, or it is gone.
func (r *Reconciler) pollPIN(ctx context.Context, s *scope) error {
	if s.state.pinOpen() {
		r.pace.ResumePIN(s.pace())
	}
	r.memory.saw(s.name) // Before anything slow: no link gets a PIN until all links are seen.
	if !s.state.pinOpen() {
		return nil
	}
	now := r.Clock.Now()
	if s.follows() && s.memory.pending && now.Before(s.state.PIN.ExpirationTime) {
		return nil // Only the operator can enter it.
	}
	if until := r.pace.PausedUntil(now); until.Sub(now) > pollCeiling {
		s.pausedUntil = until
	}
	if wait := r.untilPoll(s, now); wait > 0 {
		s.requeue(wait)
		return nil
	}
	token, err := ask(ctx, r, s, pace.Poll, "pins.check", func(ctx context.Context) (plex.Sensitive, error) {
		return r.Plex.CheckPIN(ctx, s.plexDevice(), s.state.PINID)
	})
	if errors.Is(err, errLater) {
		return nil
	}
	class, over := plex.Classify(err), s.state.PIN.ExpirationTime
	if class == plex.ClassOK {
		r.pace.Polled(s.pace(), now)
		r.pace.Succeeded(s.pace(), pace.PollPIN)
		s.memory.pending = s.follows() && token == ""
	} else { // Sooner than after an answered poll: the PIN may have been entered right after the previous one.
		r.pace.Failed(s.pace(), pace.PollPIN, pollCeiling, r.Clock.Now())
	}
	switch {
	case class == plex.ClassOK && token != "":
		return r.acceptToken(ctx, s, token)
	case class == plex.ClassPINGone,
		class == plex.ClassOK && !now.Before(over), // This was the last poll: a person may link in the last second.
		!now.Before(over.Add(pinGrace)):
		r.metrics.pinsExpired.Inc()
		s.state = s.state.pinGone(now)
		r.pace.LeavePIN(s.pace())
		return r.save(ctx, s)
	case class != plex.ClassOK && !now.Before(over):
		s.memory.plexProblem = plexProblem(err)
	}
	s.requeue(r.untilPoll(s, r.Clock.Now()))
	return nil
}

// untilPoll returns how long the next poll of the open PIN has to wait.
func (r *Reconciler) untilPoll(s *scope, now time.Time) time.Duration {
	return max(r.pace.UntilPoll(s.pace(), now), r.pace.Remaining(s.pace(), pace.PollPIN, now))
}

// acceptToken stores the token before anything else: plex.tv returns it for a few more seconds only.
func (r *Reconciler) acceptToken(ctx context.Context, s *scope, token plex.Sensitive) error {
	what := pinEntered()
	if s.follows() {
		what = followed(leaderName(s.link).Name)
	}
	if s.link.Spec.Account.IsLimited() {
		s.state = s.state.tokenPending(token)
	} else {
		s.state = s.state.tokenReceived(token, s.now)
	}
	s.memory.claimed = s.now
	r.pace.LeavePIN(s.pace())
	if err := r.save(ctx, s); err != nil {
		return err
	}
	r.metrics.pinsClaimed.Inc()
	s.tell(what)
	return nil
}

// noteLinkRequest handles a new value of the annotation that requests a new PIN.
func (r *Reconciler) noteLinkRequest(ctx context.Context, s *scope) error {
	s.tellTooLong()
	requested := s.newLinkRequest()
	if requested == "" {
		return nil
	}
	s.state = s.state.linkRequested(requested, s.now)
	return r.save(ctx, s)
}

// tellTooLong reports once which requests are ignored because their values are too long.
func (s *scope) tellTooLong() {
	var ignored []string
	var lengths []int
	for _, annotation := range []string{v1alpha1.LinkRequestedAtAnnotation, v1alpha1.RefreshRequestedAtAnnotation} {
		if value := s.link.Annotations[annotation]; tooLong(value) {
			ignored, lengths = append(ignored, annotation), append(lengths, len(value))
		}
	}
	requests := fmt.Sprint(ignored, lengths)
	if len(ignored) > 0 && requests != s.memory.tooLong {
		s.tell(requestsIgnored(strings.Join(ignored, " and ")))
	}
	s.memory.tooLong = requests
}

// mintPIN mints a PIN if the link needs one and its turn has come, and stores it before it is shown.
func (r *Reconciler) mintPIN(ctx context.Context, s *scope) error {
	switch d := s.state; {
	case d.pinOpen():
		return r.claimPIN(ctx, s)
	case !s.wantsPIN():
		r.pace.LeavePIN(s.pace())
		return nil
	case d.PendingToken != "", d.StrayToken != "", s.waitsFor != nil:
		return r.awaitPIN(s)
	case d.Unentered >= maxUnentered:
		s.state = s.state.relinkDropped()
		r.pace.LeavePIN(s.pace())
		return r.awaitPIN(s)
	}
	if !r.admitted(s) {
		return r.awaitPIN(s)
	}
	pin, err := ask(ctx, r, s, pace.Ordinary, "pins.create", func(ctx context.Context) (plex.PIN, error) {
		return r.Plex.CreatePIN(ctx, s.plexDevice())
	})
	switch {
	case errors.Is(err, errLater):
		return r.awaitPIN(s)
	case err != nil:
		log.FromContext(ctx).Info("plex.tv issued no PIN; retrying", "error", err.Error())
		s.memory.plexProblem = plexProblem(err)
		s.requeue(r.pace.Failed(s.pace(), pace.MintPIN, mintRetryLimit, s.now))
		r.pace.LeavePIN(s.pace()) // Until then others take its place.
		return r.awaitPIN(s)
	}
	s.memory.plexProblem = ""
	r.pace.Succeeded(s.pace(), pace.MintPIN)
	now := r.Clock.Now()
	s.state = s.state.pinMinted(pin, now)
	s.memory.pending = s.follows()
	if err := r.save(ctx, s); err != nil {
		return err
	}
	r.metrics.pinsIssued.Inc()
	if !s.follows() { // Otherwise the operator enters it, and the first poll follows at once.
		r.pace.Polled(s.pace(), now)
		s.tell(pinIssued(pin.Code, r.Plex.EntryURL(), s.state.PIN.ExpirationTime))
		s.requeue(r.untilPoll(s, now))
	}
	return r.claimPIN(ctx, s)
}

// admitted reports whether the link may request a PIN now. If not, it comes back when it may.
func (r *Reconciler) admitted(s *scope) bool {
	if wait := r.pace.Remaining(s.pace(), pace.MintPIN, s.now); wait > 0 {
		s.requeue(wait)
		return false
	}
	if !r.memory.allSeen() {
		s.requeue(startInterval)
		return false
	}
	since := sane(s.state.WaitingSince, s.now)
	if since.IsZero() {
		since = s.link.CreationTimestamp.Time // Queue new links by creation time, not by reconcile order.
	}
	if r.pace.Admit(s.pace(), since, s.now) {
		return true
	}
	s.queuedTime = since
	if authorizationObstacle(s, r.Plex) != nil { // A link whose token works has other steps to run.
		s.memory.queuedAs = lookOf(s.link)
	}
	return false
}

// awaitPIN stops the steps until a person enters the PIN. A link whose token still works goes on.
func (r *Reconciler) awaitPIN(s *scope) error {
	if o := authorizationObstacle(s, r.Plex); o != nil {
		return o
	}
	return nil
}

// waitsForTurn reports whether the link is still queued for a PIN, unchanged since the last reconciliation. Then there is
// nothing to read or write until its turn comes.
func (r *Reconciler) waitsForTurn(s *scope) bool {
	return s.memory.queuedAs != "" && s.memory.queuedAs == lookOf(s.link) && !s.memory.unsaved && r.pace.Queued(s.pace())
}

// lookOf identifies everything that a queued link reacts to.
func lookOf(link *v1alpha1.PlexLink) string {
	deleted := ""
	if link.DeletionTimestamp != nil {
		deleted = "deleted"
	}
	return strconv.FormatInt(link.Generation, 10) + deleted + requestOf(link, v1alpha1.LinkRequestedAtAnnotation)
}

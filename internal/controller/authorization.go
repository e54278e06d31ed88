package controller

import (
	"context"
	"errors"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
)

const (
	// maxUnentered is how many PINs in a row are minted for a link that nobody enters: two hours, at 15 minutes each.
	maxUnentered = 8
	// pingInterval is how often a token is prolonged. Unused tokens have lapsed after three weeks; clients that keep
	// tokens ping about daily.
	pingInterval = 24 * time.Hour
	// queueInterval is how often a link looks whether it is its turn.
	queueInterval = 2 * time.Second
)

// authorize gets a token: it offers a PIN and polls it until a person has entered it. With a token that works it only
// keeps it alive.
func (r *Reconciler) authorize(ctx context.Context, s *scope) error {
	if s.conflict != "" {
		r.pins.leave(s.link.UID)
		return nil
	}
	noticeRequest(s)
	if s.device.PIN != nil {
		if err := r.checkPIN(ctx, s); err != nil || s.device.PIN != nil {
			return err
		}
	}
	if !s.authorized() || s.device.Relink {
		return r.createPIN(ctx, s)
	}
	r.pins.leave(s.link.UID)
	return r.ping(ctx, s)
}

// noticeRequest acts on a new value of the annotation that asks for a new PIN.
func noticeRequest(s *scope) {
	requested := s.link.Annotations[v1alpha1.LinkRequestedAtAnnotation]
	if requested == "" || requested == s.device.LinkRequestedAt {
		return
	}
	s.device.LinkRequestedAt = requested
	s.device.Unentered = 0
	s.device.Relink = s.authorized()
}

// createPIN mints a PIN, when it is the link's turn, and stores it before anybody can see it.
func (r *Reconciler) createPIN(ctx context.Context, s *scope) error {
	if s.templateErr != nil || s.device.Unentered >= maxUnentered {
		s.device.Relink = false
		r.pins.leave(s.link.UID)
		return nil
	}
	since := s.now
	switch queued := s.link.Status.QueuedSince; {
	case queued != nil:
		since = queued.Time
	case s.device.Unentered == 0 && s.device.Token == "": // Whoever is looked at first, who came first is first.
		since = s.link.CreationTimestamp.Time
	}
	if s.place = r.pins.admit(s.link.UID, since); s.place > 0 {
		s.requeue(queueInterval * time.Duration(min(1+s.place/r.pins.limit(), 5)))
		return nil
	}
	if wait := r.backOff.remaining(s, "pin"); wait > 0 {
		s.requeue(wait)
		return nil
	}
	pin, err := ask(ctx, r, s, ordinary, "pins.create", func(ctx context.Context) (plex.PIN, error) {
		return r.Plex.CreatePIN(ctx, s.plexDevice(r.Version))
	})
	if err != nil {
		if !isNotYet(err) {
			log.FromContext(ctx).Info("plex.tv gave no PIN", "error", err.Error())
			s.plexErr = err
			s.requeue(r.backOff.next(s, "pin", time.Minute))
		}
		return r.saveDevice(ctx, s)
	}
	r.backOff.reset(s, "pin")
	s.device.PINID = pin.ID
	s.device.PIN = &openPIN{Code: pin.Code, QRURL: pin.QRURL, ExpiresAt: r.Clock.Now().Add(pin.ExpiresIn).Truncate(time.Second)}
	s.device.Unentered++
	if err := r.saveDevice(ctx, s); err != nil {
		return err
	}
	r.metrics.pinsIssued.Inc()
	s.notices = append(s.notices, pinIssued(pin.Code, r.Plex.EntryURL(), s.device.PIN.ExpiresAt))
	r.pins.polled(s.link.UID, r.Clock.Now())
	s.requeue(r.pins.interval())
	return nil
}

// checkPIN polls the open PIN, when that is due. Afterwards there is a token, the PIN is still open, or it is gone.
func (r *Reconciler) checkPIN(ctx context.Context, s *scope) error {
	r.pins.resume(s.link.UID)
	now := r.Clock.Now()
	if wait := r.pins.untilPoll(s.link.UID, now); wait > 0 {
		s.requeue(wait)
		return nil
	}
	token, err := ask(ctx, r, s, poll, "pins.check", func(ctx context.Context) (plex.Sensitive, error) {
		return r.Plex.CheckPIN(ctx, s.plexDevice(r.Version), s.device.PINID)
	})
	if isNotYet(err) {
		return nil
	}
	r.pins.polled(s.link.UID, now)
	switch {
	case err == nil && token != "":
		return r.acceptToken(ctx, s, token)
	case errors.Is(err, plex.ErrPINGone), err == nil && !now.Before(s.device.PIN.ExpiresAt):
		// This poll was the last: a person may link in the last second.
		r.metrics.pinsExpired.Inc()
		s.device.PIN, s.device.PINID = nil, ""
		r.pins.leave(s.link.UID)
		return nil
	case err != nil:
		log.FromContext(ctx).V(1).Info("The poll of the PIN failed and will be repeated", "error", err.Error())
		if !now.Before(s.device.PIN.ExpiresAt) {
			s.plexErr = err
		}
		// Sooner than after a poll that was answered: the PIN may have been entered just after the one before.
		wait := r.backOff.next(s, "poll", pollCeiling)
		r.pins.polled(s.link.UID, now.Add(wait-r.pins.interval()))
		s.requeue(wait)
		return nil
	default:
		r.backOff.reset(s, "poll")
		s.requeue(min(r.pins.interval(), max(s.device.PIN.ExpiresAt.Sub(now), pollFloor)))
		return nil
	}
}

// acceptToken stores the token before anything else is done: the PIN shows it for a few more seconds only. If that
// fails, the next reconciliation polls the PIN again.
func (r *Reconciler) acceptToken(ctx context.Context, s *scope, token plex.Sensitive) error {
	s.device.Token = token
	s.device.PIN, s.device.PINID = nil, ""
	s.device.Unentered = 0
	s.device.Relink, s.device.TokenRevoked = false, false
	s.device.Unproven = true
	s.device.Account = plex.Account{}
	s.device.LastPing = s.now
	if err := r.saveDevice(ctx, s); err != nil {
		return err
	}
	r.pins.leave(s.link.UID)
	r.backOff.reset(s, "poll")
	r.metrics.pinsClaimed.Inc()
	s.notices = append(s.notices, pinEntered())
	return nil
}

// ping prolongs the token once a day.
func (r *Reconciler) ping(ctx context.Context, s *scope) error {
	if wait := max(s.device.LastPing.Add(pingInterval).Sub(s.now), r.backOff.remaining(s, "ping")); wait > 0 {
		s.requeue(wait)
		return nil
	}
	_, err := ask(ctx, r, s, refresh, "ping", func(ctx context.Context) (struct{}, error) {
		return struct{}{}, r.Plex.Ping(ctx, s.plexDevice(r.Version), s.device.Token)
	})
	switch {
	case isNotYet(err):
		return nil
	case errors.Is(err, plex.ErrTokenInvalid):
		return r.revoked(ctx, s)
	case err != nil:
		log.FromContext(ctx).Info("The token could not be prolonged and will be later", "error", err.Error())
		s.requeue(r.backOff.next(s, "ping", time.Hour))
		return nil
	}
	r.backOff.reset(s, "ping")
	s.device.LastPing = s.now
	s.requeue(pingInterval)
	return nil
}

// revoked notes that plex.tv has called the token invalid. The Secret stays until there is a new token, and a new PIN
// is offered at once.
func (r *Reconciler) revoked(ctx context.Context, s *scope) error {
	s.device.TokenRevoked = true
	s.device.Unentered = 0
	s.requeue(0)
	return r.saveDevice(ctx, s)
}

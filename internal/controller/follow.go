package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/pace"
	"plexlink.dev/operator/internal/plex"
)

// A link with spec.account.linkRef is a follower: it uses the account of another link in its namespace, its leader. The
// operator enters its PIN with the leader's token. Everything else is as for any link, so its state has one more field
// only: whether plex.tv has refused that.

const (
	// leaderIndex finds the followers of a link in the cache, by its name.
	leaderIndex = "account-link-ref"
	// leaderInterval is how often a follower looks at a leader whose token is being checked.
	leaderInterval = 2 * time.Second
	// claimPatience is how long plex.tv may fail to accept a PIN before a person is asked to enter it.
	claimPatience = time.Minute
	// claimRetryLimit is the longest back-off between these attempts.
	claimRetryLimit = 15 * time.Second
)

// leader is the link whose account a follower uses.
type leader struct {
	device plex.Device
	token  plex.Sensitive
}

// follows reports whether the operator enters the open PIN, or the next one. A person is asked to only after plex.tv has
// refused it.
func (s *scope) follows() bool {
	return s.link.Spec.Account.LinkRef != nil && s.state.PIN.Refused == ""
}

// leaderName returns the name of the link that spec.account.linkRef refers to, or the zero value.
func leaderName(link *v1alpha1.PlexLink) types.NamespacedName {
	if ref := link.Spec.Account.LinkRef; ref != nil {
		return types.NamespacedName{Namespace: link.Namespace, Name: ref.Name}
	}
	return types.NamespacedName{}
}

// lending is what the state of a link means to its followers.
type lending struct {
	authorized bool
	account    string // The uuid; "": not known.
}

// lends returns what the state means to followers of the link.
func (s state) lends() lending {
	if !s.authorized() {
		return lending{}
	}
	return lending{true, s.Account.UUID}
}

// wakeFollowers reconciles the followers of a link if this reconciliation has changed what it lends. They go by its stored
// state, so a change of its status is no sign for them: after a restart there is none.
func (r *Reconciler) wakeFollowers(ctx context.Context, s *scope) {
	if r.memory.lends(s.name) == s.lent {
		return
	}
	for _, follower := range r.followersOf(ctx, s.link) {
		r.Wake(follower.NamespacedName)
	}
}

// findLeader finds the leader whose token enters the PIN that the link needs. Until that leader has a working token, the
// link gets no PIN.
func (r *Reconciler) findLeader(ctx context.Context, s *scope) error {
	if !s.follows() || !s.wantsPIN() || s.state.PendingToken != "" || s.state.StrayToken != "" {
		return nil
	}
	var link v1alpha1.PlexLink
	err := r.Client.Get(ctx, leaderName(s.link), &link)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("read the PlexLink of spec.account.linkRef: %w", err)
	}
	if s.waitsFor = leaderUnfit(s.link, &link, err != nil); s.waitsFor == nil {
		s.waitsFor = r.leaderUnlinked(s, &link)
	}
	if s.waitsFor == nil {
		return nil
	}
	if s.state.pinOpen() && s.memory.pending { // It is known to the operator alone, and its place is for others.
		s.state = s.state.pinGone(s.now)
		if err := r.save(ctx, s); err != nil {
			return err
		}
	}
	if !s.state.pinOpen() {
		r.pace.LeavePIN(s.pace())
	}
	return nil
}

// leaderUnfit returns why a link may not be referred to, or nil.
func leaderUnfit(follower, link *v1alpha1.PlexLink, missing bool) *obstacle {
	problem := ""
	switch account := link.Spec.Account; {
	case missing:
		problem = "does not exist; create it, or change linkRef"
	case link.DeletionTimestamp != nil:
		problem = "is being deleted; create it again, or change linkRef"
	case account.LinkRef != nil && account.LinkRef.Name == follower.Name:
		problem = "refers to this PlexLink; remove linkRef from one of them"
	case account.LinkRef != nil:
		problem = fmt.Sprintf("takes the account of PlexLink %s itself; refer to that one", account.LinkRef.Name)
	case !account.AllowLinkRefs:
		problem = "does not allow it; set spec.account.allowLinkRefs to true there, or change linkRef"
	default:
		return nil
	}
	return &obstacle{reason: v1alpha1.ReasonAccountUnavailable, message: fmt.Sprintf(
		"PlexLink %s of spec.account.linkRef %s", leaderName(follower).Name, problem)}
}

// leaderUnlinked returns what the link has to wait for before it can use the token of its leader; if nothing, the leader is
// in the scope. The token must have been proven since the link began to wait: after "sign out everywhere" the leader may not
// have noticed yet.
func (r *Reconciler) leaderUnlinked(s *scope, link *v1alpha1.PlexLink) *obstacle {
	name := client.ObjectKeyFromObject(link)
	d, known := r.memory.storedState(name)
	account := link.Spec.Account
	message := ""
	switch since := sane(s.state.WaitingSince, s.now); {
	case link.Spec.Suspend:
		message = fmt.Sprintf("Waiting for PlexLink %s, which is suspended", name.Name)
	case !known, !d.authorized(), d.Account != (plex.Account{}) && !d.Account.Matches(account.Username, account.UUID):
		switch { // The leader has been reconciled and still has no state: it has a problem of its own.
		case !known && !r.memory.allSeen():
			s.requeue(startInterval)
		case !known:
			s.requeue(conflictInterval)
		}
		message = fmt.Sprintf("Waiting for PlexLink %s to be linked", name.Name)
	case d.provenAt().Before(since):
		if r.memory.doubt(name, since) {
			r.Wake(name)
		}
		s.requeue(leaderInterval)
		message = fmt.Sprintf("Waiting for PlexLink %s, whose token is being checked", name.Name)
	default:
		s.leader = leader{identityOf(link, r.Version), d.Token}
		s.leader.device.ClientIdentifier = d.ClientIdentifier
		return nil
	}
	return &obstacle{reason: v1alpha1.ReasonAwaitingAccount, message: message}
}

// claimPIN enters the open PIN of a follower, if it is known not to have been entered: plex.tv answers that a PIN entered
// twice is unknown. The next poll returns the result.
func (r *Reconciler) claimPIN(ctx context.Context, s *scope) error {
	if !s.follows() || !s.memory.pending || s.waitsFor != nil {
		return r.awaitPIN(s)
	}
	if wait := r.pace.Remaining(s.pace(), pace.ClaimPIN, s.now); wait > 0 {
		s.requeue(wait)
		return r.awaitPIN(s)
	}
	overdue := r.sinceFirst(s, pace.ClaimPIN, claimPatience)
	s.memory.pending = false
	_, err := ask(ctx, r, s, pace.Entered, "pins.link", func(ctx context.Context) (struct{}, error) {
		return struct{}{}, r.Plex.EnterPIN(ctx, s.leader.device, s.leader.token, s.state.PIN.Code)
	})
	refused, isRefused := errors.AsType[*plex.ClaimRefusedError](err)
	switch {
	case errors.Is(err, errLater):
		s.memory.pending = ctx.Err() == nil // After a cancellation it may have been sent.
		return r.awaitPIN(s)
	case err == nil:
		r.pace.Succeeded(s.pace(), pace.ClaimPIN)
		s.requeue(0)
		return r.awaitPIN(s)
	case plex.Classify(err) == plex.ClassTokenInvalid: // The leader has to check its token, and is linked again.
		r.pace.Succeeded(s.pace(), pace.ClaimPIN)
		r.pace.LeavePIN(s.pace())
		s.state = s.state.pinGone(s.now)
		s.requeue(0)
	case isRefused:
		s.state = s.state.claimRefused(fmt.Sprintf("HTTP %d", refused.Status))
	case overdue && plex.Classify(err) != plex.ClassThrottled:
		s.state = s.state.claimRefused("no proper answer")
	default:
		log.FromContext(ctx).Info("plex.tv did not take the PIN from the operator; retrying", "error", err.Error())
		r.pace.Failed(s.pace(), pace.ClaimPIN, claimRetryLimit, s.now)
		s.requeue(r.untilPoll(s, s.now))
		return r.awaitPIN(s)
	}
	if err := r.save(ctx, s); err != nil {
		return err
	}
	if s.state.pinOpen() {
		r.pace.Succeeded(s.pace(), pace.ClaimPIN)
		s.tell(claimRefused(leaderName(s.link).Name, s.state.PIN, r.Plex.EntryURL()))
		s.requeue(r.untilPoll(s, s.now))
	}
	return r.awaitPIN(s)
}

// leaderOf indexes followers.
func leaderOf(link client.Object) []string {
	if name := leaderName(link.(*v1alpha1.PlexLink)).Name; name != "" {
		return []string{name}
	}
	return nil
}

// followersOf returns requests for the links that use the account of a link.
func (r *Reconciler) followersOf(ctx context.Context, link client.Object) []reconcile.Request {
	var followers v1alpha1.PlexLinkList
	if err := r.Client.List(ctx, &followers, client.InNamespace(link.GetNamespace()),
		client.MatchingFields{leaderIndex: link.GetName()}, client.UnsafeDisableDeepCopy); err != nil {
		log.FromContext(ctx).Error(err, "Could not list the PlexLinks that refer to another one")
	}
	requests := make([]reconcile.Request, len(followers.Items))
	for i := range followers.Items {
		requests[i].NamespacedName = client.ObjectKeyFromObject(&followers.Items[i])
	}
	return requests
}

// leaderChanged selects the updates of a link that its followers go by.
func leaderChanged() predicate.Funcs {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
			(e.ObjectOld.GetDeletionTimestamp() == nil) != (e.ObjectNew.GetDeletionTimestamp() == nil)
	}}
}

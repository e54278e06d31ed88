package controller

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/pace"
	"plexlink.dev/operator/internal/plex"
	"plexlink.dev/operator/internal/template"
)

const (
	// defaultRefreshInterval applies to links that set none.
	defaultRefreshInterval = time.Hour
	// serverRetryLimit is the longest back-off of a link without a proven address: a server takes minutes to start.
	serverRetryLimit = 5 * time.Minute
)

// resolveServer selects the server and proves an address of it: for a new token, for a changed spec.server, when a refresh
// is due or requested, and when the address in use stopped or resumed answering. The request for the account's servers
// proves the token too.
func (r *Reconciler) resolveServer(ctx context.Context, s *scope) error {
	if s.wrongAccount() {
		return nil
	}
	spec, settled := serverSpecKey(s.link.Spec.Server), s.settled()
	requested := requestOf(s.link, v1alpha1.RefreshRequestedAtAnnotation)
	isRequested := requested != "" && requested != s.state.RefreshRequest
	up, changes := r.watchAddress(ctx, s)
	if up && s.state.Problem == (serverProblem{}) { // It came back before that mattered, or has been proven since.
		s.memory.changes = changes
	}
	if settled && !isRequested && changes == s.memory.changes {
		if wait := untilCheck(s); wait > 0 {
			s.requeue(wait)
			return nil
		}
	}
	wish := fmt.Sprint(spec, requested, changes)
	if s.memory.resolving != wish { // The back-off for one request does not delay another.
		r.pace.Succeeded(s.pace(), pace.ResolveServer)
	}
	s.memory.resolving = wish
	if wait := r.pace.Remaining(s.pace(), pace.ResolveServer, s.now); wait > 0 {
		s.requeue(wait)
		return serverObstacle(s)
	}
	if wait := r.slow.take(s.urgency(), s.now); wait > 0 {
		s.requeue(wait)
		return serverObstacle(s)
	}
	err := r.resolve(ctx, s, spec, up)
	r.slow.giveBack()
	if errors.Is(err, errLater) {
		return serverObstacle(s)
	}
	s.memory.changes = changes
	if isRequested {
		s.state = s.state.refreshHandled(requested)
	}
	if plex.Classify(err) == plex.ClassTokenInvalid {
		return r.revoked(ctx, s)
	}
	if err != nil {
		r.serverFailed(ctx, s, err, spec)
		return serverObstacle(s)
	}
	r.pace.Succeeded(s.pace(), pace.ResolveServer)
	r.watchAddress(ctx, s)
	s.requeue(untilCheck(s))
	return nil
}

// untilCheck returns the time until the next check of a settled link; 0 if a failed check has to be repeated.
func untilCheck(s *scope) time.Duration {
	if s.state.Problem == (serverProblem{}) {
		return untilRefresh(s.link, s.state.LastRefresh, s.now)
	}
	return s.state.untilConfirmed(s.now)
}

// serverFailed records why a check failed, and schedules the next one.
func (r *Reconciler) serverFailed(ctx context.Context, s *scope, err error, spec string) {
	log.FromContext(ctx).Info("Could not verify an address of a server; retrying", "error", err.Error())
	p := describeServerError(err, s)
	p.Spec, p.Message = spec, truncate(p.Message, maxMessage)
	limit := serverRetryLimit
	if s.settled() { // A working link asks plex.tv no more often than usual.
		limit = refreshInterval(s.link)
	}
	s.state = s.state.serverFailed(p, s.now)
	s.requeue(max(r.pace.Failed(s.pace(), pace.ResolveServer, limit, s.now), s.state.untilConfirmed(s.now)))
}

// resolve lists the account's servers, selects one, and uses the best-ranked address that can be verified. up is false if
// the address in use has not answered for a while.
func (r *Reconciler) resolve(ctx context.Context, s *scope, spec string, up bool) error {
	// Before the servers, so that running out of budget between the two repeats neither.
	if err := r.readAccount(ctx, s); err != nil {
		return err
	}
	if s.wrongAccount() {
		s.requeue(0)
		return errLater
	}
	list, err := ask(ctx, r, s, s.urgency(), "resources", func(ctx context.Context) (plex.Resources, error) {
		return r.Plex.Resources(ctx, s.plexDevice(), s.state.Token)
	})
	if plex.Classify(err) == plex.ClassTokenRefused {
		s.state = s.state.tokenRefused(s.now)
	}
	if err != nil {
		return err
	}
	r.metrics.recordsSkipped.Add(float64(list.Skipped))
	s.state = s.state.serversListed(choices(list.Servers))
	current := s.state.Server
	if current.Spec != spec {
		current = server{}
	}
	chosen, err := chooseServer(list, s.link.Spec.Server, current, s.state.isGone(s.now))
	if err != nil {
		return err
	}
	found, err := r.findAddress(ctx, s, chosen, current, up)
	if _, unproven := errors.AsType[*unprovenError](err); unproven && s.state.replaceable(s.now) {
		if other, replacement, ok := r.findReplacement(ctx, s, list.Servers, chosen); ok {
			s.tell(serverReplaced(chosen, other, s.state.FailingSince))
			chosen, found, err = other, replacement, nil
		}
	}
	if err != nil {
		return err
	}
	found.Spec = spec
	if found.Pod && found.URL != s.state.Server.URL {
		s.tell(podAddress(found.URL))
	}
	s.state = s.state.serverProven(found, chosen.AccessToken, s.now)
	return nil
}

// readAccount requests the account once. A failure is retried at the next refresh, or sooner if the Secret cannot be written
// without it.
func (r *Reconciler) readAccount(ctx context.Context, s *scope) error {
	if s.state.Account != (plex.Account{}) {
		return nil
	}
	account, err := ask(ctx, r, s, s.urgency(), "user", func(ctx context.Context) (plex.Account, error) {
		return r.Plex.Account(ctx, s.plexDevice(), s.state.Token)
	})
	needed := s.state.Adopted || s.link.Spec.Account.IsLimited() || template.UsesAccount(templateTexts(s.link))
	switch {
	case err == nil:
		if s.state.Adopted {
			s.tell(adopted(account))
		}
		s.state = s.state.accountKnown(account)
		return nil
	case plex.Classify(err) == plex.ClassThrottled && !needed:
		s.requeue(r.pace.Failed(s.pace(), pace.ResolveServer, serverRetryLimit, s.now))
		return errLater
	case errors.Is(err, errLater), plex.Classify(err) == plex.ClassTokenInvalid, needed:
		return err
	}
	log.FromContext(ctx).Info("plex.tv did not identify the account; retrying with the next refresh", "error", err.Error())
	return nil
}

// goneError means that the server in use is not among the account's servers.
type goneError struct {
	server     string
	unreadable int // unreadable records of the list that may be this server
}

// Error names the server.
func (e *goneError) Error() string {
	return fmt.Sprintf("%s is no longer among the servers of the account", clip(e.server))
}

// chooseServer keeps the server in use while the spec is unchanged and the account still has it: a second server, or a new
// name, is no reason to break a working link. Another server is selected only if this one was gone before, and no unreadable
// record may be this server.
func chooseServer(list plex.Resources, spec v1alpha1.ServerSpec, current server, wasGone bool) (plex.Server, error) {
	if current != (server{}) {
		kept := slices.IndexFunc(list.Servers, func(s plex.Server) bool { return s.MachineIdentifier == current.MachineIdentifier })
		if kept >= 0 {
			return list.Servers[kept], nil
		}
		gone := &goneError{server: current.Name}
		for _, id := range list.Unreadable {
			if id == "" || id == current.MachineIdentifier {
				gone.unreadable++
			}
		}
		if gone.unreadable > 0 || !wasGone {
			return plex.Server{}, gone
		}
	}
	return plex.SelectServer(list.Servers, plex.Selector{Name: spec.Name, MachineIdentifier: spec.MachineIdentifier})
}

// findReplacement returns the only other server with the name in spec.server that can be verified: the one in use was
// reinstalled.
func (r *Reconciler) findReplacement(ctx context.Context, s *scope, servers []plex.Server, dead plex.Server) (plex.Server, server, bool) {
	var other plex.Server
	var found server
	for _, candidate := range servers {
		if s.link.Spec.Server.Name == "" || candidate.MachineIdentifier == dead.MachineIdentifier ||
			!strings.EqualFold(candidate.Name, s.link.Spec.Server.Name) {
			continue
		}
		proven, err := r.findAddress(ctx, s, candidate, server{}, true)
		switch {
		case err != nil:
			continue
		case found != (server{}):
			return plex.Server{}, server{}, false
		}
		other, found = candidate, proven
	}
	return other, found, found != (server{})
}

// serverSpecKey identifies a spec.server.
func serverSpecKey(spec v1alpha1.ServerSpec) string {
	text, err := json.Marshal(spec)
	if err != nil {
		panic(err) // Strings and lists of strings always encode.
	}
	return shortHash(text)
}

// shortHash identifies a text. Its 64 bits detect a change, but not a forgery.
func shortHash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// refreshInterval returns that of a link, at least a minute.
func refreshInterval(link *v1alpha1.PlexLink) time.Duration {
	if link.Spec.RefreshInterval == nil {
		return defaultRefreshInterval
	}
	return max(link.Spec.RefreshInterval.Duration, time.Minute)
}

// untilRefresh returns the time until the next refresh. Refreshes are spread by 10 percent either way, derived from the link
// and the time of its last refresh: the same after a restart, different between links and from one refresh to the next. A
// last refresh in the future is ignored.
func untilRefresh(link *v1alpha1.PlexLink, last, now time.Time) time.Duration {
	if last = sane(last, now); last.IsZero() {
		return 0
	}
	hash := fnv.New32a()
	_, _ = fmt.Fprint(hash, link.UID, last.Unix())
	spread := float64(hash.Sum32()%2001)/10000 - 0.1
	interval := time.Duration(float64(refreshInterval(link)) * (1 + spread))
	return last.Add(interval).Sub(now)
}

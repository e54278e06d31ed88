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
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/pace"
	"plexlink.dev/operator/internal/plex"
	"plexlink.dev/operator/internal/template"
)

const (
	// defaultRefreshInterval is that of a link that sets none.
	defaultRefreshInterval = time.Hour
	// serverRetryLimit bounds the back-off of a link without a proven address: a server takes minutes to start.
	serverRetryLimit = 5 * time.Minute
	// slotInterval is how soon a link tries again when as many servers are being checked as may be at a time.
	slotInterval = 500 * time.Millisecond
)

// resolveServer chooses the server and proves an address of it: for a new token, for a changed spec.server, when a refresh
// is due and when a person asks for one. The request for the account's servers proves the token too.
func (r *Reconciler) resolveServer(ctx context.Context, s *scope) error {
	if s.wrongAccount() {
		return nil
	}
	spec, settled := serverSpecKey(s.link.Spec.Server), s.settled()
	requested := requestOf(s.link, v1alpha1.RefreshRequestedAtAnnotation)
	isRequested := requested != "" && requested != s.state.RefreshRequest
	if settled && !isRequested && s.state.Problem == (serverProblem{}) {
		if wait := untilRefresh(s.link, s.state.LastRefresh, s.now); wait > 0 {
			s.requeue(wait)
			return nil
		}
	}
	if s.memory.resolving != spec+requested { // The back-off of one wish does not delay another.
		r.pace.Succeeded(s.pace(), pace.ResolveServer)
	}
	s.memory.resolving = spec + requested
	if wait := r.pace.Remaining(s.pace(), pace.ResolveServer, s.now); wait > 0 {
		s.requeue(wait)
		return serverObstacle(s)
	}
	if !r.slow.take(s.urgency()) {
		s.requeue(slotInterval)
		return serverObstacle(s)
	}
	err := r.resolve(ctx, s, spec)
	r.slow.giveBack()
	if errors.Is(err, errLater) {
		return serverObstacle(s)
	}
	if isRequested {
		s.state = s.state.refreshHandled(requested)
	}
	if plex.Classify(err) == plex.ClassTokenInvalid {
		return r.revoked(ctx, s)
	}
	if err != nil {
		log.FromContext(ctx).Info("Could not verify an address of a server; retrying", "error", err.Error())
		reason, message := describeServerError(err, s)
		s.state = s.state.serverFailed(serverProblem{Reason: reason, Message: truncate(message, maxMessage), Spec: spec})
		limit := serverRetryLimit
		if settled { // A link that works asks plex.tv no more often than it would anyway.
			limit = refreshInterval(s.link)
		}
		s.requeue(r.pace.Failed(s.pace(), pace.ResolveServer, limit, s.now))
		return serverObstacle(s)
	}
	r.pace.Succeeded(s.pace(), pace.ResolveServer)
	s.requeue(untilRefresh(s.link, s.state.LastRefresh, s.now))
	return nil
}

// resolve asks plex.tv for the account's servers, chooses one, and takes the address that is in use if it still
// verifies, else the best-ranked that does.
func (r *Reconciler) resolve(ctx context.Context, s *scope, spec string) error {
	// Before the servers, so that a budget that ends between the two repeats neither.
	if err := r.readAccount(ctx, s); err != nil {
		return err
	}
	if s.wrongAccount() {
		s.requeue(0)
		return errLater
	}
	servers, err := ask(ctx, r, s, s.urgency(), "resources", func(ctx context.Context) ([]plex.Server, error) {
		return r.Plex.Resources(ctx, s.plexDevice(), s.state.Token)
	})
	if err != nil {
		return err
	}
	s.state = s.state.serversListed(choices(servers))
	current := s.state.Server
	if current.Spec != spec {
		current = server{}
	}
	chosen, err := chooseServer(servers, s.link.Spec.Server, current)
	if err != nil {
		return err
	}
	if chosen.AccessToken == "" {
		return &unprovenError{server: chosen.Name, noToken: true}
	}
	found, err := r.findAddress(ctx, s, chosen, current)
	if err != nil {
		return err
	}
	found.Spec = spec
	s.state = s.state.serverProven(found, chosen.AccessToken, s.now)
	return nil
}

// readAccount asks whose account it is, once. A failure waits for the next refresh, unless the answer is needed before the
// Secret can be written.
func (r *Reconciler) readAccount(ctx context.Context, s *scope) error {
	if s.state.Account != (plex.Account{}) {
		return nil
	}
	account, err := ask(ctx, r, s, s.urgency(), "user", func(ctx context.Context) (plex.Account, error) {
		return r.Plex.Account(ctx, s.plexDevice(), s.state.Token)
	})
	needed := s.state.Adopted || s.link.Spec.Account != (v1alpha1.AccountSpec{}) || template.UsesAccount(templateTexts(s.link))
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

// chooseServer keeps the server in use while nothing in the spec has changed and the account still has it: a second
// server, or a new name, is no reason to break a link that works.
func chooseServer(servers []plex.Server, spec v1alpha1.ServerSpec, current server) (plex.Server, error) {
	if current != (server{}) {
		kept := slices.IndexFunc(servers, func(s plex.Server) bool { return s.MachineIdentifier == current.MachineIdentifier })
		if kept >= 0 {
			return servers[kept], nil
		}
	}
	return plex.SelectServer(servers, plex.Selector{Name: spec.Name, MachineIdentifier: spec.MachineIdentifier})
}

// serverSpecKey identifies what spec.server asks for.
func serverSpecKey(spec v1alpha1.ServerSpec) string {
	text, err := json.Marshal(spec)
	if err != nil {
		panic(err) // Strings and lists of them always encode.
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// refreshInterval of a link, at least a minute.
func refreshInterval(link *v1alpha1.PlexLink) time.Duration {
	if link.Spec.RefreshInterval == nil {
		return defaultRefreshInterval
	}
	return max(link.Spec.RefreshInterval.Duration, time.Minute)
}

// untilRefresh returns how long the next refresh has to wait. It spreads refreshes by 10 percent either way: the spread is
// made of the link and the time of the last refresh, so it is the same after a restart and differs between links and from
// one refresh to the next. A last refresh in the future is none.
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

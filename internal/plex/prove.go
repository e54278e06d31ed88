package plex

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// Verdict is what became of a candidate, as coarse as a status may say it.
type Verdict string

// The verdicts.
const (
	Proven        Verdict = "proven"            // the server answers there and accepts its token
	Unreachable   Verdict = "unreachable"       // nothing usable answers in time
	NotThisServer Verdict = "is another server" // something else answers
	TokenRefused  Verdict = "refused the token" // the server answers there, but not with this token
	NotAwaited    Verdict = "not awaited"       // a better one was proven first, or the context ended
)

// Outcome tells what became of a candidate.
type Outcome struct {
	Candidate Candidate
	Verdict   Verdict
	Err       error // the detail, for the log only: it would make a status a port scanner
}

// Proof is the result of [Prober.Prove].
type Proof struct {
	Chosen   *Candidate // the best-ranked proven one; nil: none is
	Version  string     // of the server at Chosen, as it says itself
	Outcomes []Outcome  // one for each candidate, in their order
}

// Prober finds out at which addresses a server really answers. The zero value is ready to use.
type Prober struct {
	Transport http.RoundTripper // default NewTransport(TransportOptions{Deny: DefaultDeny})
	Timeout   time.Duration     // of one request to one candidate; default 3 s
}

var guarded = sync.OnceValue(func() *http.Transport { return NewTransport(TransportOptions{Deny: DefaultDeny}) })

func (p *Prober) transport() http.RoundTripper {
	if p.Transport != nil {
		return p.Transport
	}
	return guarded()
}

func (p *Prober) timeout() time.Duration {
	if p.Timeout > 0 {
		return p.Timeout
	}
	return 3 * time.Second
}

// Prove asks at all candidates at once who answers there, without the token; where it is the server it sends the
// server's token, in a header, and wants 200. It chooses the first in the order given that passes and waits for no
// worse one. All requests have ended when it returns.
//
// A candidate gets the token only once all better ones have failed, so that it does not travel over http while https
// is about to be proven. It waits for that no longer than one time-out, so that a server whose library hangs
// costs three time-outs and not one for each of its addresses.
func (p *Prober) Prove(ctx context.Context, d Device, s Server, candidates []Candidate) Proof {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	probes := make([]*probe, len(candidates))
	var running sync.WaitGroup
	for i, c := range candidates {
		probes[i] = &probe{settled: make(chan struct{}), Outcome: Outcome{Candidate: c}}
		running.Go(func() {
			defer close(probes[i].settled)
			probes[i].version, probes[i].Err = p.probe(ctx, d, s, c, probes[:i])
			probes[i].Verdict = verdict(ctx, probes[i].Err)
		})
	}
	var proof Proof
	for _, best := range probes {
		<-best.settled
		if best.Verdict == Proven {
			proof.Chosen, proof.Version = &best.Candidate, best.version
			break
		}
	}
	stop()
	running.Wait()
	for _, each := range probes {
		proof.Outcomes = append(proof.Outcomes, each.Outcome)
	}
	return proof
}

// probe is one candidate's; what it found is there once settled is closed.
type probe struct {
	Outcome
	version string
	settled chan struct{}
}

// probe makes both requests to one candidate and returns the server's version.
func (p *Prober) probe(ctx context.Context, d Device, s Server, c Candidate, better []*probe) (string, error) {
	id, err := p.identify(ctx, c.URL)
	if err != nil {
		return "", err
	}
	if id.machineIdentifier != s.MachineIdentifier {
		return "", errOther
	}
	patience := time.NewTimer(p.timeout())
	defer patience.Stop()
	for _, b := range better {
		select {
		case <-b.settled:
			if b.Verdict == Proven { // then Prove is about to stop us
				<-ctx.Done()
				return "", ctx.Err()
			}
			continue
		case <-patience.C:
		case <-ctx.Done():
			return "", ctx.Err()
		}
		break
	}
	return id.version, p.checkToken(ctx, d, c.URL, s.AccessToken)
}

func verdict(ctx context.Context, err error) Verdict {
	switch {
	case err == nil:
		return Proven
	case ctx.Err() != nil:
		return NotAwaited
	case errors.Is(err, errOther):
		return NotThisServer
	case errors.Is(err, errRefused):
		return TokenRefused
	default:
		return Unreachable
	}
}

package plex

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// Verdict is the result of probing a candidate. It is coarse, because it is shown in a status.
type Verdict string

// The verdicts.
const (
	Proven        Verdict = "proven"            // the server answers there and accepts its token
	Unreachable   Verdict = "unreachable"       // no usable answer in time
	NotThisServer Verdict = "is another server" // something else answers there
	TokenRefused  Verdict = "refused the token" // the server answers there but does not accept its token
	NotAwaited    Verdict = "not awaited"       // a better candidate was proven first, or the context ended
)

// Outcome is the result of probing one candidate.
type Outcome struct {
	Candidate Candidate
	Verdict   Verdict
	Err       error // the detail, for the log only: in a status it would permit port scans
}

// Proof is the result of [Prober.Prove].
type Proof struct {
	Chosen   *Candidate // the best proven one; nil if none is proven
	Version  string     // of the server at Chosen, from its own answer
	Outcomes []Outcome  // one for each candidate, in the same order
}

// Prober proves at which addresses a server answers. The zero value is ready to use.
type Prober struct {
	Transport http.RoundTripper // default NewTransport(TransportOptions{Deny: DefaultDeny})

	timeout time.Duration // of one request to one candidate; default 3 s
}

var guarded = sync.OnceValue(func() *http.Transport { return NewTransport(TransportOptions{Deny: DefaultDeny}) })

func (p *Prober) transport() http.RoundTripper {
	if p.Transport != nil {
		return p.Transport
	}
	return guarded()
}

func (p *Prober) requestTimeout() time.Duration {
	if p.timeout > 0 {
		return p.timeout
	}
	return 3 * time.Second
}

// Prove requests the identity at all candidates at once, without a token. Where the server itself answers, it sends the
// server's token in a header and expects status 200. It chooses the first candidate, in the order given, that passes,
// and does not wait for worse ones. All requests have ended when it returns.
//
// A candidate gets the token only after all better ones have failed, so that the token is not sent over http while https
// is about to be proven. It waits for them no longer than one time-out, so a server whose library hangs costs three
// time-outs, not one for each of its addresses.
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

// probe is the probe of one candidate. Its other fields are set when settled is closed.
type probe struct {
	Outcome
	version string
	settled chan struct{}
}

// probe sends both requests to one candidate and returns the server's version.
func (p *Prober) probe(ctx context.Context, d Device, s Server, c Candidate, better []*probe) (string, error) {
	id, err := p.identify(ctx, d, c.URL)
	if err != nil {
		return "", err
	}
	if id.machineIdentifier != s.MachineIdentifier {
		return "", errOther
	}
	patience := time.NewTimer(p.requestTimeout())
	defer patience.Stop()
	for _, b := range better {
		select {
		case <-b.settled:
			if b.Verdict == Proven { // Prove is about to stop this probe
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

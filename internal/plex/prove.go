package plex

import (
	"cmp"
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
	Err       error // the detail, for the log only: in a status it would permit port scans; nil if none was tried
}

// Proof is the result of [Prober.Prove].
type Proof struct {
	Chosen   *Candidate // the best proven one; nil if none is proven
	Version  string     // of the server at Chosen, from its own answer
	Open     bool       // the server at Chosen answers without a token from here too, so that accepting the token proves nothing
	Outcomes []Outcome  // one for each candidate, in the same order
}

// Prober proves at which addresses a server answers. The zero value is ready to use.
type Prober struct {
	Transport http.RoundTripper // default NewTransport(TransportOptions{Deny: DefaultDeny})

	timeout        time.Duration // of a request without a token; default requestTimeout
	libraryTimeout time.Duration // of a request with a token; default libraryTimeout
}

const (
	requestTimeout = 3 * time.Second
	libraryTimeout = 10 * time.Second // disks may have to wake up
)

var guarded = sync.OnceValue(func() *http.Transport { return NewTransport(TransportOptions{Deny: DefaultDeny}) })

func (p *Prober) transport() http.RoundTripper {
	if p.Transport != nil {
		return p.Transport
	}
	return guarded()
}

// maxBatch bounds the requests at once. The addresses of a usual server fit: one with 15 local addresses has 30 candidates.
const maxBatch = 32

// Prove tries the candidates, which are ordered as [Candidates] returns them, in batches of one location until it proves
// one. In a batch it requests the identity at all candidates at once, without a token. Where the server itself answers, it
// sends the server's token in a header and expects status 200. It chooses the first candidate that passes, and does not
// wait for worse ones. Those that the end of the context leaves untried are not awaited. All requests have ended when it
// returns.
//
// A candidate gets the token only after all better ones have failed, so that the token is not sent over http while https
// may still be proven. A better one fails after 3 s if it does not return its identity, but after 10 s if it is the right
// server and its library is slow, as it is until its disks have woken up.
func (p *Prober) Prove(ctx context.Context, d Device, s Server, candidates []Candidate) Proof {
	var proof Proof
	for len(candidates) > 0 && proof.Chosen == nil && ctx.Err() == nil {
		n := 1
		for n < min(len(candidates), maxBatch) && candidates[n].Location == candidates[0].Location {
			n++
		}
		for _, each := range p.proveBatch(ctx, d, s, candidates[:n]) {
			if proof.Chosen == nil && each.Verdict == Proven {
				proof.Chosen, proof.Version = &each.Candidate, each.version
			}
			proof.Outcomes = append(proof.Outcomes, each.Outcome)
		}
		candidates = candidates[n:]
	}
	for _, c := range candidates {
		proof.Outcomes = append(proof.Outcomes, Outcome{Candidate: c, Verdict: NotAwaited})
	}
	if proof.Chosen != nil {
		proof.Open = p.isOpen(ctx, d, proof.Chosen.URL)
	}
	return proof
}

// Reach requests the identity at the URL, without a token: the verdict is Proven if the machine answers there.
func (p *Prober) Reach(ctx context.Context, d Device, url, machineIdentifier string) Verdict {
	_, err := p.identify(ctx, d, url, machineIdentifier)
	return verdict(ctx, err)
}

// probe is the probe of one candidate. Its other fields are set when settled is closed.
type probe struct {
	Outcome
	version string
	settled chan struct{}
}

// proveBatch probes the candidates until the best of them is found, and returns when all probes have settled.
func (p *Prober) proveBatch(ctx context.Context, d Device, s Server, batch []Candidate) []*probe {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	probes := make([]*probe, len(batch))
	var running sync.WaitGroup
	for i, c := range batch {
		probes[i] = &probe{settled: make(chan struct{}), Outcome: Outcome{Candidate: c}}
		running.Go(func() {
			defer close(probes[i].settled)
			probes[i].version, probes[i].Err = p.probe(ctx, d, s, c, probes[:i])
			probes[i].Verdict = verdict(ctx, probes[i].Err)
		})
	}
	for _, best := range probes {
		<-best.settled
		if best.Verdict == Proven {
			break
		}
	}
	stop()
	running.Wait()
	return probes
}

// probe sends both requests to one candidate and returns the server's version.
func (p *Prober) probe(ctx context.Context, d Device, s Server, c Candidate, better []*probe) (string, error) {
	id, err := p.identify(ctx, d, c.URL, s.MachineIdentifier)
	if err != nil {
		return "", err
	}
	if err := p.awaitTurn(ctx, c, better); err != nil {
		return "", err
	}
	return id.version, p.checkToken(ctx, d, c.URL, s.AccessToken)
}

// awaitTurn returns when the candidate may get the token: all better ones have failed. For those of its own tier it waits
// no longer than one time-out, so a server whose library hangs does not cost 10 s for each of its addresses.
func (p *Prober) awaitTurn(ctx context.Context, c Candidate, better []*probe) error {
	var patience <-chan time.Time
	for _, b := range better {
		if patience == nil && b.Candidate.Tier == c.Tier {
			patience = time.After(cmp.Or(p.timeout, requestTimeout))
		}
		select {
		case <-b.settled:
			if b.Verdict == Proven { // proveBatch is about to stop this probe
				<-ctx.Done()
				return ctx.Err()
			}
		case <-patience:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
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

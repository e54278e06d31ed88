package pace

import "time"

// Task is something that a link attempts until it succeeds, with its own back-off.
type Task int

// The tasks of a link.
const (
	MintPIN Task = iota
	PollPIN
	ResolveServer
	PingToken
	SignOut
	ImportToken
	IdentifyAccount
	StoreState
	WriteSecret
	RepairSecret
	EndLink
	ClaimPIN
)

// attempt is the progress of a link with a task that has not succeeded yet.
type attempt struct {
	first    time.Time
	failures int
	wait     time.Duration // between the last failure and next
	next     time.Time
}

// Failed records a failure and returns the time until the next attempt: one second, two, four, up to a limit.
func (p *Pace) Failed(l Link, t Task, limit time.Duration, now time.Time) time.Duration {
	p.lockAt(now)
	defer p.unlock()
	a := p.begun(l, t, now)
	a.wait = min(time.Second<<min(a.failures, 20), limit)
	a.next = now.Add(a.wait)
	a.failures++
	p.links[l].attempts[t] = a
	return a.wait
}

// Failures returns how often the task has failed since its last success.
func (p *Pace) Failures(l Link, t Task) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.find(l).attempts[t].failures
}

// Remaining returns the time until the next attempt: never longer than right after the last failure, even if the clock was
// set back since then.
func (p *Pace) Remaining(l Link, t Task, now time.Time) time.Duration {
	p.lockAt(now)
	defer p.unlock()
	a := p.find(l).attempts[t]
	if latest := now.Add(a.wait); a.next.After(latest) {
		a.next = latest
		p.links[l].attempts[t] = a
	}
	return max(a.next.Sub(now), 0)
}

// FirstTried returns when the link began with the task. The first call begins it.
func (p *Pace) FirstTried(l Link, t Task, now time.Time) time.Time {
	p.lockAt(now)
	defer p.unlock()
	return p.begun(l, t, now).first
}

// Succeeded records that the task is done, or no longer needed.
func (p *Pace) Succeeded(l Link, t Task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.find(l).attempts, t)
	p.dropEmpty(l)
}

// begun returns the link's attempt at a task, and begins it if necessary. A beginning in the future, because the clock was
// set back, does not count.
func (p *Pace) begun(l Link, t Task, now time.Time) attempt {
	e := p.entry(l)
	if e.attempts == nil {
		e.attempts = map[Task]attempt{}
	}
	a := e.attempts[t]
	if a.first.IsZero() || a.first.After(now) {
		a.first = now
		e.attempts[t] = a
	}
	return a
}

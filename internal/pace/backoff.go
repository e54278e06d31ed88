package pace

import "time"

// Task is a thing that a link attempts until it succeeds, with a back-off of its own.
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

// attempt is how far a link has come with a task that did not succeed yet.
type attempt struct {
	first    time.Time
	failures int
	wait     time.Duration // between the last failure and next
	next     time.Time
}

// Failed notes a failure and returns how long to wait before the next attempt: one second, two, four, up to a limit.
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

// Failures returns how often the task has failed since it last succeeded.
func (p *Pace) Failures(l Link, t Task) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.find(l).attempts[t].failures
}

// Remaining returns how long the next attempt still has to wait: never longer than it had to after the last failure,
// even if the clock was set back since.
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

// FirstTried returns when the link began with the task, which is now when it is asked for the first time.
func (p *Pace) FirstTried(l Link, t Task, now time.Time) time.Time {
	p.lockAt(now)
	defer p.unlock()
	return p.begun(l, t, now).first
}

// Succeeded notes that the task is done, or no longer wanted.
func (p *Pace) Succeeded(l Link, t Task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.find(l).attempts, t)
	p.dropEmpty(l)
}

// begun returns the link's attempt at a task, which begins now if it has not. A beginning in the future, because the
// clock was set back, is none.
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

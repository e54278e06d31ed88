// Package model explores every interleaving of one PlexLink: the device Secret, the target Secret, the status, the PINs at
// plex.tv, a manager that leads and one that takes over when it dies, and requests that fail or whose answers are lost.
//
// It knows the order in which internal/controller does things, not its code: what it proves holds for the design within the
// bounds of Limits. A Mutant is a design that is wrong in one way.
package model

// Limits bound what is explored: how often the leader dies, a request fails or its answer is lost, a write arrives after its
// manager died, and how many PINs are minted. Two late writes are beyond the design: the second may replace a PIN that is
// asked for, when its manager had read the first.
type Limits struct{ Deaths, Failures, Late, PINs uint8 }

// Mutant changes the design.
type Mutant string

// The mutants, each a mistake that was made or is near at hand.
const (
	None              Mutant = ""
	StatusBeforeState Mutant = "a PIN is shown before it is stored"
	TargetBeforeState Mutant = "the Secret gets an address before it is stored"
	RefreshInStatus   Mutant = "the time of the refresh is noted in the status, before the address is stored"
	NoLock            Mutant = "the device Secret is written without its version"
	StaleRead         Mutant = "the device Secret is read from a cache that is behind"
	BothLead          Mutant = "both managers lead"
	PINDropped        Mutant = "the PIN is dropped from the state before the token is in it"
)

// Mutants lists them.
var Mutants = []Mutant{StatusBeforeState, TargetBeforeState, RefreshInStatus, NoLock, StaleRead, BothLead, PINDropped}

type pinState uint8

const (
	unminted pinState = iota
	open
	claimed
	expired
)

const maxPINs = 4

// device is the state in the device Secret. PINs and tokens are numbered by the PIN they came from; 0: none.
type device struct {
	pin, token, address uint8 // address 0: none, 1: where the server was, 2: where it is after it moved
}

// What a manager does next.
type step uint8

const (
	load step = iota
	store
	mint
	poll
	resolve
	target
	report
)

// manager is a process. Its memory ends with it.
type manager struct {
	at      step
	then    step   // after store
	memory  device // the newest state
	version uint8  // of the device Secret that memory was read from or written to
	unsaved bool   // memory is newer than what is stored
}

// State is one state of the world.
type State struct {
	stored, before device // before is the version before stored, which a cache may still have
	version        uint8
	flight         device // a write of a manager that died, which may still arrive; with its version plus one, 0: none
	flightVersion  uint8
	secretToken    uint8
	secretAddress  uint8
	shown          uint8 // the PIN in the status
	due            bool  // a refresh is due, by what was noted of the last one
	moved          uint8 // 1: the server did
	minted         uint8
	pins           [maxPINs + 1]pinState
	managers       [2]manager
	leader         uint8
	deaths         uint8
	failures       uint8
	late           uint8
	broken         string // the rule that the last step broke
}

// live reports whether a PIN can still be entered or collected.
func (s *State) live(pin uint8) bool {
	return pin != 0 && (s.pins[pin] == open || s.pins[pin] == claimed)
}

// write changes the device Secret.
func (s *State) write(d device) { s.before, s.stored, s.version = s.stored, d, s.version+1 }

// good reports whether the link is linked: everything shows the newest token and the right address.
func (s *State) good() bool {
	d := s.stored
	return d.token != 0 && d.pin == 0 && d.address == s.moved+1 && s.secretToken == d.token && s.secretAddress == d.address &&
		s.shown == 0 && !s.due
}

// next returns all states that may follow.
func (w *world) next(s State) []State {
	s.broken = ""
	out := w.environment(s)
	for i := range s.managers {
		if uint8(i) == s.leader || w.mutant == BothLead {
			out = append(out, w.act(s, i)...)
		}
	}
	if q := s.managers[s.leader]; s.deaths < w.Deaths && q != (manager{}) {
		d := s
		d.deaths++
		d.managers[s.leader], d.leader = manager{}, 1-s.leader
		out = append(out, d)
		if q.at == store && s.late < w.Late {
			d.late++
			d.flight, d.flightVersion = q.memory, q.version+1
			out = append(out, d)
		}
	}
	return out
}

// environment is what others do.
func (w *world) environment(s State) (out []State) {
	happens := func(change func(*State)) {
		t := s
		change(&t)
		out = append(out, checked(s, t))
	}
	for n := uint8(1); n <= s.minted; n++ {
		if s.pins[n] == open && s.shown == n {
			happens(func(t *State) { t.pins[n] = claimed })
		}
		if s.pins[n] == open && s.minted < w.PINs {
			happens(func(t *State) { t.pins[n] = expired })
		}
	}
	if s.moved == 0 && s.good() {
		happens(func(t *State) { t.moved, t.due = 1, true })
	}
	if s.flightVersion != 0 {
		happens(func(t *State) {
			if t.flight, t.flightVersion = (device{}), 0; s.flightVersion-1 == s.version || w.mutant == NoLock {
				t.write(s.flight)
			}
		})
	}
	return out
}

// act is the next step of a manager.
func (w *world) act(s State, i int) (out []State) {
	q := s.managers[i]
	become := func(t State, q manager) {
		t.managers[i] = q
		out = append(out, checked(s, t))
	}
	save := func(t State, q manager, then step) { // What is stored already is not written again.
		q.at, q.then, q.unsaved = store, then, true
		become(t, q)
	}
	fail := func(t State, q manager) { // The request fails, or its answer is lost.
		if t.failures++; t.failures <= w.Failures {
			become(t, q)
		}
	}
	switch q.at {
	case load:
		w.load(s, q, become)
	case store:
		failed := manager{memory: q.memory, version: q.version, unsaved: true}
		fail(s, failed)
		if q.version != s.version && w.mutant != NoLock {
			become(s, failed)
			break
		}
		t := s
		if s.stored != q.memory {
			t.write(q.memory)
		}
		t.due = s.due && q.then != target
		fail(t, failed)
		become(t, manager{at: q.then, memory: q.memory, version: t.version})
	case mint:
		if s.minted == w.PINs {
			break
		}
		t := s
		if s.live(s.stored.pin) && s.shown == s.stored.pin {
			t.broken = "a PIN was minted while the one that is asked for lives"
		}
		t.minted++
		t.pins[t.minted] = open
		fail(t, manager{}) // The PIN is not known.
		q.memory.pin = t.minted
		if w.mutant == StatusBeforeState {
			t.shown = t.minted
		}
		save(t, q, report)
	case poll:
		w.poll(s, q, become, save)
	default:
		w.publish(s, q, become, save)
	}
	return out
}

// poll asks plex.tv for the token of the PIN.
func (w *world) poll(s State, q manager, become func(State, manager), save func(State, manager, step)) {
	switch s.pins[q.memory.pin] {
	case open:
		q.at = report
		become(s, q)
	case claimed:
		token := q.memory.pin
		q.memory.pin = 0
		if w.mutant == PINDropped {
			s.write(device{0, s.stored.token, s.stored.address})
			q.version = s.version
		}
		q.memory.token = token
		save(s, q, resolve)
	default:
		q.memory.pin = 0
		save(s, q, load)
	}
}

// load finds the newest state: what is unsaved, unless another manager has stored a PIN since, else what is stored.
func (w *world) load(s State, q manager, become func(State, manager)) {
	reads := []device{s.stored}
	if w.mutant == StaleRead {
		reads = append(reads, s.before)
	}
	for _, read := range reads {
		r := q
		overtaken := s.version != q.version && read.pin != 0 && read.pin != q.memory.pin && read.token == q.memory.token
		if overtaken || !r.unsaved {
			r.memory, r.unsaved = read, false
		}
		r.version = s.version
		switch {
		case r.unsaved:
			r.at = store
		case r.memory.pin != 0:
			r.at = poll
		case r.memory.token == 0:
			r.at = mint
		default:
			r.at = resolve
		}
		become(s, r)
	}
}

// publish resolves the server, then writes the target Secret and the status.
func (w *world) publish(s State, q manager, become func(State, manager), save func(State, manager, step)) {
	switch q.at {
	case resolve:
		if s.due || q.memory.address == 0 {
			found := q
			found.memory.address = s.moved + 1
			if w.mutant == TargetBeforeState || w.mutant == RefreshInStatus {
				found.at, found.unsaved = target, true
				become(s, found)
			} else {
				save(s, found, target)
			}
			if s.failures == w.Failures || q.memory.address == 0 {
				return
			}
			s.failures++ // plex.tv does not answer: what was proven before stays.
		}
		q.at = target
		become(s, q)
	case target:
		t := s
		t.secretToken, t.secretAddress = q.memory.token, q.memory.address
		q.at = report
		if q.unsaved && w.mutant == TargetBeforeState {
			q.at, q.then = store, target
		}
		become(t, q)
	case report:
		t := s
		t.shown = q.memory.pin
		if q.unsaved && w.mutant == RefreshInStatus {
			t.due = false
			q.at, q.then = store, load
			become(t, q)
			return
		}
		become(t, manager{})
	}
}

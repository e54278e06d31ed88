package controller

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/pace"
	"plexlink.dev/operator/internal/plex"
)

// memory holds what a process remembers about links: one entry per name, until the link is gone. The reconciliations of one
// link never overlap, so the lock guards only what other links read: the map, and the state of an entry.
type memory struct {
	mu    sync.Mutex
	links map[types.NamespacedName]*entry
	// unseen are the links that existed when the process started and were not reconciled yet. They may have open PINs.
	unseen map[types.NamespacedName]bool
	// started is set once unseen is filled.
	started bool
	// starting is held while it is filled: a list of all links in every worker would take more memory than all the rest.
	starting sync.Mutex
}

// entry holds what a process remembers about one link.
type entry struct {
	uid types.UID
	// identity is what plex.tv knows about the link. Together with the policy it is enough to end a vanished link.
	identity plex.Device
	policy   v1alpha1.DeletionPolicy
	// released means that `manager --uninstall` removed the finalizer.
	released bool

	// unclaimed means that the link had no finalizer when this process first read it, so it was never served: a device Secret
	// that this process did not write was planted, or is a backup, unless the status shows its PIN.
	unclaimed bool

	// state is the newest state; known is false until it was read or created.
	state state
	known bool
	// unsaved means that state is newer than the device Secret. No step runs until it is stored.
	unsaved bool
	// device is the device Secret that state was last read from or written to; zero: none.
	device secretVersion

	// lends is what the state means to followers as it was last stored.
	lends lending

	// newest is the resource version of the PlexLink that this process first read or last wrote, to detect that the cache is
	// behind it.
	newest string
	// queuedAs identifies the link as it joined the queue for a PIN: while it is unchanged, nothing is read.
	queuedAs string
	// template is the result of checking spec.secret.template of a generation.
	template checkedTemplate
	// plexProblem is why the last PIN could not be minted; "" if it could.
	plexProblem string
	// tooLong identifies the requests that are ignored as too long, so that each is reported once.
	tooLong string
	// resolving identifies the request that the last check of the server answered.
	resolving string
	// changes counts how often the server at the address in use had gone or come back when that was last handled.
	changes int
	// target is the UID of the target Secret that this process last found or made to be as desired; "" if none.
	target types.UID
	// targetName is the name of the target Secret that target, contested and the back-off of repairs refer to.
	targetName string
	// contested is set while another client keeps changing the target Secret. It becomes nil when the Secret stayed unchanged for
	// as long as the next repair would have waited.
	contested *obstacle
	// claimed is when the token of the last PIN was received; zero once the Secret is in place.
	claimed time.Time
	// pending means that the open PIN is known not to have been entered, and that only the operator is to enter it.
	pending bool
	// doubted is the time since which a follower needs proof that the token of this link works.
	doubted time.Time
	// signedOut means that the link is being deleted and its tokens are signed out.
	signedOut bool
}

// secretVersion identifies one version of a Secret.
type secretVersion struct {
	uid             types.UID
	resourceVersion string
}

// checkedTemplate caches a check, which costs more than the rest of a poll.
type checkedTemplate struct {
	generation int64
	problem    string // "": none
}

func newMemory() *memory {
	return &memory{links: map[types.NamespacedName]*entry{}, unseen: map[types.NamespacedName]bool{}}
}

// find returns the entry under a name; nil: there is none.
func (m *memory) find(name types.NamespacedName) *entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.links[name]
}

// entryOf returns the entry of a link, and creates it if there is none. The caller has removed that of an earlier link of
// this name.
func (m *memory) entryOf(link *v1alpha1.PlexLink) *entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := types.NamespacedName{Namespace: link.Namespace, Name: link.Name}
	e := m.links[name]
	if e == nil {
		e = &entry{uid: link.UID, newest: link.ResourceVersion}
		m.links[name] = e
	}
	return e
}

// forget removes the entry of a name.
func (m *memory) forget(name types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.links, name)
	delete(m.unseen, name)
}

// keep sets a state that is not stored yet.
func (m *memory) keep(e *entry, s state) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e.state, e.known, e.unsaved = s, true, true
}

// stored sets the state that a device Secret holds.
func (m *memory) stored(e *entry, s state, device secretVersion) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e.state, e.known, e.unsaved, e.device, e.lends = s, true, false, device, s.lends()
}

// ended records that the tokens of a link are signed out.
func (m *memory) ended(e *entry, s state) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e.state, e.unsaved, e.signedOut = s, false, true
}

// storedState returns the state of a link that its device Secret holds, and whether it is known.
func (m *memory) storedState(name types.NamespacedName) (state, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.links[name]
	if e == nil || !e.known || e.unsaved {
		return state{}, false
	}
	return e.state, true
}

// lends returns what the link of a name lends to its followers. While a newer state is being stored, the former one counts:
// a follower that found nothing would not look again.
func (m *memory) lends(name types.NamespacedName) lending {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.links[name]; e != nil {
		return e.lends
	}
	return lending{}
}

// doubt requests proof newer than since that the token of a link works, and reports whether that was not requested yet.
func (m *memory) doubt(name types.NamespacedName, since time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.links[name]
	if e == nil || !since.After(e.doubted) {
		return false
	}
	e.doubted = since
	return true
}

// doubted returns the time that doubt was last called with for the link of an entry.
func (m *memory) doubted(e *entry) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return e.doubted
}

// release records that `manager --uninstall` removed the finalizer of a link.
func (m *memory) release(link *v1alpha1.PlexLink) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.links[types.NamespacedName{Namespace: link.Namespace, Name: link.Name}]; e != nil && e.uid == link.UID {
		e.released = true
	}
}

// isReleased reports whether release was called for the link of an entry.
func (m *memory) isReleased(e *entry) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return e.released
}

// unsavedStates returns the names and copies of the states that are not stored yet.
func (m *memory) unsavedStates() map[types.NamespacedName]entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	unsaved := map[types.NamespacedName]entry{}
	for name, e := range m.links {
		if e.unsaved {
			unsaved[name] = entry{uid: e.uid, state: e.state, device: e.device}
		}
	}
	return unsaved
}

// start sets the links that exist when the process starts.
func (m *memory) start(links []v1alpha1.PlexLink) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.started {
		return
	}
	for i := range links {
		if links[i].DeletionTimestamp == nil {
			m.unseen[types.NamespacedName{Namespace: links[i].Namespace, Name: links[i].Name}] = true
		}
	}
	m.started = true
}

// hasStarted reports whether start was called.
func (m *memory) hasStarted() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.started
}

// saw records that a link was reconciled once, successfully or not.
func (m *memory) saw(name types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if delete(m.unseen, name); len(m.unseen) == 0 {
		m.unseen = nil // An emptied map keeps its memory.
	}
}

// allSeen reports whether every link that existed at the start was reconciled, so that all open PINs are known.
func (m *memory) allSeen() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.unseen) == 0
}

// size returns the number of links in memory.
func (m *memory) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.links)
}

// paceLink is the name under which the pace knows a link.
func paceLink(name types.NamespacedName) pace.Link {
	return pace.Link{Namespace: name.Namespace, Name: name.Name}
}

// sane returns t, or the zero time if t is in the future: a clock that was ahead for a moment must not postpone anything
// until then.
func sane(t, now time.Time) time.Time {
	if t.After(now) {
		return time.Time{}
	}
	return t
}

package stories

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

const (
	// trialPatience is longer than every back-off in a trial: ten minutes pass in it by the trial's clock.
	trialPatience = time.Minute
	// Every trialTick the trial's clock advances by trialStep.
	trialTick, trialStep = 400 * time.Millisecond, 4 * time.Second
)

// trial is a world that is driven until a condition holds: time passes, a person enters the PINs that are shown, and an
// operator that died is replaced.
type trial struct {
	*world
	// configure changes each operator before it starts.
	configure func(*operator)
	// person enters the PINs that are shown; nil: they stay open.
	person  *plextest.Account
	entered map[string]bool
	// names has pairs of a text that differs from run to run and what stands for it.
	names   []string
	ticked  time.Time
	secrets *recording[*corev1.Secret]
	links   *recording[*v1alpha1.PlexLink]
}

// newTrial starts a trial with alice's server at 192.168.1.100 and an operator.
func newTrial(w *world, configure func(*operator)) *trial {
	w.Helper()
	c := &trial{world: w, configure: configure, person: w.alice, entered: map[string]bool{}, ticked: time.Now()}
	c.names = []string{w.server.MachineIdentifier, "[machine]", w.namespace, "[namespace]"}
	c.serverAt("192.168.1.100:32400")
	c.secrets, c.links = w.recordSecrets(), w.recordLinks()
	c.restart()
	return c
}

// serverAt moves alice's server to an address, where it is advertised.
func (c *trial) serverAt(address string) {
	c.network.Update(func() { c.network.Listeners = map[string]string{address: c.server.Addr} })
	c.server.SetConnections(plextest.LocalConnection("http://" + address))
}

// operator returns the one that was started last.
func (c *trial) operator() *operator { return c.operators[len(c.operators)-1] }

// restart starts another operator.
func (c *trial) restart() *operator {
	c.Helper()
	return c.startOperator(c.configure)
}

// until drives the world until the condition holds.
func (c *trial) until(what string, condition func() error) {
	c.Helper()
	if err := c.waitUntil(trialPatience, condition); err != nil {
		c.Fatalf("%s did not happen: %v\n%s", what, err, strings.Join(c.end(), "\n"))
	}
}

func (c *trial) waitUntil(limit time.Duration, condition func() error) error {
	return waitFor(limit, func() error {
		c.drive()
		return condition()
	})
}

// drive restarts an operator that died, and lets a person enter what is shown.
func (c *trial) drive() {
	if o := c.operator(); o.dead.Load() {
		o.kill()
		c.restart()
	}
	c.enterPINs()
	if time.Since(c.ticked) < trialTick {
		return
	}
	c.ticked = time.Now()
	if !slices.ContainsFunc(c.sim.PINs(), func(p plextest.PIN) bool { return !p.ClaimedAt.IsZero() && !p.Collected }) {
		c.clock.advance(trialStep) // Not during the ten seconds of an entered PIN, which are short on a busy machine.
	}
	c.poke()
}

// poke is that of the world, without a request to the API server.
func (c *trial) poke() { c.wake(c.links.latest()) }

// enterPINs enters the PINs that links show.
func (c *trial) enterPINs() {
	if c.person == nil {
		return
	}
	for _, link := range c.links.latest() {
		if link.Status.PIN == nil || link.DeletionTimestamp != nil || c.entered[pinOf(link)] {
			continue
		}
		c.entered[pinOf(link)] = true
		_ = c.sim.Link(link.Status.PIN.Code, c.person) // It may have expired.
	}
}

// pinsShown returns how many PINs the statuses have asked a person to enter.
func (c *trial) pinsShown() int {
	shown := map[string]bool{}
	for _, link := range c.world.links() { // The watch may be behind.
		if link.Status.PIN != nil {
			shown[pinOf(link)] = true
		}
	}
	c.links.mu.Lock()
	defer c.links.mu.Unlock()
	for _, event := range c.links.events {
		if link, ok := event.Object.(*v1alpha1.PlexLink); ok && link.Status.PIN != nil {
			shown[pinOf(link)] = true
		}
	}
	return len(shown)
}

// linked creates a PlexLink and drives the world until it is Ready.
func (c *trial) linked(name string, change ...func(*v1alpha1.PlexLink)) {
	c.Helper()
	c.create(name, change...)
	c.until(name+" linked", c.ready(name))
	c.until("the rest of "+name, c.quiet)
}

// ready holds when a link is Ready for its present spec, with its account, and every request was handled.
func (c *trial) ready(name string) func() error {
	return func() error {
		link := c.world.links()[name] // The watch may be behind an edit.
		if link == nil {
			return errors.New("it does not exist")
		}
		ready := meta.FindStatusCondition(link.Status.Conditions, v1alpha1.ConditionReady)
		asked := link.Annotations[v1alpha1.LinkRequestedAtAnnotation] // An adopted token comes with the last request that was handled.
		if ready == nil || ready.Status != metav1.ConditionTrue || link.Status.ObservedGeneration != link.Generation ||
			link.Status.PIN != nil || link.Status.Server == nil || asked != "" && link.Status.LastHandledLinkRequest != asked {
			return fmt.Errorf("its message is %q", message(link))
		}
		return nil
	}
}

// linkedAnew holds when a link is Ready with another token than before.
func (c *trial) linkedAnew(name, before string) func() error {
	return func() error {
		if s := c.secret(name + v1alpha1.DeviceSecretSuffix); s == nil || string(s.Data[keyToken]) == before {
			return errors.New("it has the token of before")
		}
		return c.ready(name)()
	}
}

// hasURL holds when a Secret has the address.
func (c *trial) hasURL(secret, url string) func() error {
	return func() error {
		if s := c.secret(secret); s == nil || string(s.Data["PLEX_URL"]) != url {
			return fmt.Errorf("Secret %s does not have %s", secret, url)
		}
		return nil
	}
}

// gone holds when a link does not exist.
func (c *trial) gone(name string) func() error {
	return func() error {
		if c.world.links()[name] != nil {
			return errors.New("it still exists")
		}
		return nil
	}
}

// quiet holds when the operator has reconciled every link again, written nothing, and forgotten the links that are gone.
func (c *trial) quiet() error {
	o := c.operator()
	before := len(o.written())
	c.poke()
	asked := len(o.requests())
	_ = waitFor(500*time.Millisecond, func() error { // A link that is suspended, or gone, sends no request.
		if len(o.requests()) <= asked {
			return errNotYet
		}
		return nil
	})
	if o.dead.Load() || len(o.written()) != before {
		return errors.New("the operator still writes")
	}
	if !o.running() {
		return nil
	}
	if n, err := o.gauge("plexlink_remembered_links"); err != nil || int(n) != len(c.links.latest()) {
		return fmt.Errorf("the operator remembers %v links, %v, want those that exist", n, err)
	}
	return nil
}

// returns lists the Secrets that went back to earlier content, apart from deletions: an app would have seen stale values. It
// compares all data of targets, and the token of device Secrets.
func (c *trial) returns() []string {
	c.secrets.mu.Lock()
	events := slices.Clone(c.secrets.events)
	c.secrets.mu.Unlock()
	past, list := map[string][]string{}, []string(nil)
	for _, event := range events {
		secret, ok := event.Object.(*corev1.Secret)
		if !ok || secret.Labels[v1alpha1.ManagedByLabel] == "" || event.Type == watch.Deleted {
			continue
		}
		content := fmt.Sprint(secret.Type, " ", textOf(secret.Data))
		if secret.Type == v1alpha1.DeviceSecretType {
			if content = string(secret.Data[keyToken]); content == "" {
				continue
			}
		}
		versions := past[secret.Name]
		if len(versions) > 0 && versions[len(versions)-1] == content {
			continue
		}
		if slices.Contains(versions, content) {
			list = append(list, secret.Name)
		}
		past[secret.Name] = append(versions, content)
	}
	return list
}

func textOf(data map[string][]byte) (lines []string) {
	for _, key := range slices.Sorted(maps.Keys(data)) {
		lines = append(lines, key+"="+string(data[key]))
	}
	return lines
}

package stories

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
)

// check must hold at the end of every story that does not waive it.
type check string

const (
	checkMemory  check = "the operator remembers no deleted link"
	checkTokens  check = "the valid tokens are exactly those in device Secrets"
	checkSecrets check = "every Secret with our label belongs to a link"
)

// waive skips a check at the end of the story.
func (w *world) waive(c check, reason string) {
	w.Logf("not checked: %s: %s", c, reason)
	w.waived[c] = true
}

// leaves names Secrets that may stay after their link is gone.
func (w *world) leaves(names ...string) {
	for _, name := range names {
		w.left[name] = true
	}
}

// ignoreToken exempts an account token from checkTokens.
func (w *world) ignoreToken(token, reason string) {
	w.Logf("token not checked: %s", reason)
	w.ignored[token] = true
}

// checkSettled gives the operator, which still runs, time to finish, and checks the result.
func (w *world) checkSettled() {
	if w.Failed() {
		return
	}
	for c, holds := range map[check]func() error{
		checkMemory: w.forgotten, checkTokens: w.tokensAreStored, checkSecrets: w.secretsBelong,
	} {
		if w.waived[c] {
			continue
		}
		if err := waitFor(20*time.Second, holds); err != nil {
			w.Errorf("%s: %v", c, err)
		}
	}
}

// forgotten returns nil if the running operator remembers no more links than exist.
func (w *world) forgotten() error {
	if len(w.operators) == 0 || !w.operators[len(w.operators)-1].running() {
		return nil
	}
	remembered, err := w.operators[len(w.operators)-1].gauge("plexlink_remembered_links")
	if err != nil {
		return err
	}
	if links := w.links(); remembered > float64(len(links)) {
		return fmt.Errorf("got %v remembered links, want at most %d", remembered, len(links))
	}
	return nil
}

// tokensAreStored returns nil when plex.tv accepts exactly the account tokens in device Secrets.
func (w *world) tokensAreStored() error {
	var stored []string
	for _, secret := range w.secrets() {
		if token := string(secret.Data[keyToken]); secret.Type == v1alpha1.DeviceSecretType && token != "" {
			stored = append(stored, token)
		}
	}
	var wrong []error
	valid := w.sim.ValidTokens()
	for _, token := range valid {
		if !slices.Contains(stored, token) && !w.ignored[token] {
			wrong = append(wrong, fmt.Errorf("the token of %s is valid at plex.tv and in no device Secret", w.deviceOf(token)))
		}
	}
	for _, token := range stored {
		if !slices.Contains(valid, token) && !w.ignored[token] {
			wrong = append(wrong, fmt.Errorf("the token of %s is in a device Secret and not valid at plex.tv", w.deviceOf(token)))
		}
	}
	return errors.Join(wrong...)
}

// deviceOf returns the name of the device with a token.
func (w *world) deviceOf(token string) string {
	for _, pin := range w.sim.PINs() {
		if pin.Token == token {
			return pin.DeviceName
		}
	}
	return "a device without a PIN"
}

// secretsBelong returns nil when each Secret with our label is the device Secret or the target of a link.
func (w *world) secretsBelong() error {
	expected := map[string]bool{}
	for name, link := range w.links() {
		expected[name+v1alpha1.DeviceSecretSuffix] = true
		if link.Spec.Secret.Name != "" {
			name = link.Spec.Secret.Name
		}
		expected[name] = true
	}
	var wrong []error
	for _, secret := range w.secrets(client.MatchingLabels{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy}) {
		if !expected[secret.Name] && !w.left[secret.Name] {
			wrong = append(wrong, fmt.Errorf("Secret %s belongs to no link", secret.Name))
		}
	}
	return errors.Join(wrong...)
}

// links returns the PlexLinks of the world by name.
func (w *world) links() map[string]*v1alpha1.PlexLink {
	w.Helper()
	var list v1alpha1.PlexLinkList
	if err := admin.List(context.Background(), &list, client.InNamespace(w.namespace)); err != nil {
		w.Fatal(err)
	}
	links := map[string]*v1alpha1.PlexLink{}
	for i := range list.Items {
		links[list.Items[i].Name] = &list.Items[i]
	}
	return links
}

// secrets returns the Secrets of the world.
func (w *world) secrets(options ...client.ListOption) []corev1.Secret {
	w.Helper()
	var list corev1.SecretList
	if err := admin.List(context.Background(), &list, append(options, client.InNamespace(w.namespace))...); err != nil {
		w.Fatal(err)
	}
	return list.Items
}

// checkInvariants checks that the statuses follow kstatus and that no secret leaks out of Secrets.
func (w *world) checkInvariants() {
	for name, link := range w.links() {
		for _, broken := range brokenStatusRules(link) {
			w.Errorf("%s: %s\n%+v", name, broken, link.Status.Conditions)
		}
	}
	for _, leak := range w.leaks() {
		w.Error(leak)
	}
	if w.Failed() && os.Getenv("PLEXLINK_TEST_LOGS") != "" {
		w.Log(w.logs.String())
	}
}

// leaks returns the places outside of Secrets where a token, a PIN id or a client identifier appears.
func (w *world) leaks() []string {
	places := map[string]string{"log": w.logs.String()}
	for i, o := range w.operators {
		places[fmt.Sprint("metrics of operator ", i)] = exposition(w, o.metrics)
	}
	var events eventsv1.EventList
	if err := admin.List(context.Background(), &events, client.InNamespace(w.namespace)); err != nil {
		return []string{err.Error()}
	}
	for name, link := range w.links() {
		delete(link.Annotations, "kubectl.kubernetes.io/last-applied-configuration")
		link.ManagedFields = nil
		places["PlexLink "+name] = fmt.Sprintf("%+v", *link)
	}
	for _, event := range events.Items {
		places["event "+event.Name] = event.Reason + event.Action + event.Note
	}
	var leaks []string
	for _, secret := range w.sim.Secrets() {
		for place, text := range places {
			if before, _, found := strings.Cut(text, secret); found {
				leaks = append(leaks, fmt.Sprintf("a secret is in %s: …%s[it]", place, before[max(0, len(before)-150):]))
			}
		}
	}
	return leaks
}

// brokenStatusRules lists the rules of kstatus that a status breaks.
func brokenStatusRules(link *v1alpha1.PlexLink) []string {
	var broken []string
	rule := func(holds bool, text string) {
		if !holds {
			broken = append(broken, text)
		}
	}
	conditions := link.Status.Conditions
	ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	if ready == nil {
		rule(link.Status.ObservedGeneration == -1, "a status without Ready was never observed")
		return broken
	}
	reconciling := meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReconciling)
	isStalled := meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled)
	rule(link.Status.ObservedGeneration <= link.Generation, "observedGeneration is not ahead of generation")
	rule(!reconciling || !isStalled, "Reconciling and Stalled exclude each other")
	rule(ready.Status != metav1.ConditionTrue || !reconciling && !isStalled, "a Ready link is neither Reconciling nor Stalled")
	rule(ready.Status == metav1.ConditionTrue || reconciling || isStalled || ready.Reason == v1alpha1.ReasonSuspended, "a link that is not Ready is Reconciling or Stalled")
	rule((ready.Status == metav1.ConditionTrue) == (ready.Reason == v1alpha1.ReasonLinked), "only Linked is Ready")
	rule(!isStalled || link.Status.PIN == nil, "a link waiting for its PIN to be entered is not Stalled")
	for _, c := range conditions {
		rule(c.Reason != "" && c.Message != "", c.Type+" has a reason and a message")
		rule(c.ObservedGeneration <= link.Generation, c.Type+"'s observedGeneration is not ahead of generation")
		if c.Type == v1alpha1.ConditionReconciling || c.Type == v1alpha1.ConditionStalled {
			rule(c.Status == metav1.ConditionTrue, c.Type+" is absent unless True")
		}
	}
	return broken
}

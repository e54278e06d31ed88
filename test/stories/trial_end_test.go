package stories

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plexlink.dev/operator/api/v1alpha1"
)

// contentHashAnnotation depends on the token.
const contentHashAnnotation = "plexlink.dev/content-hash"

// momentary are the keys of status and state whose values are times or handled requests.
var momentary = []string{
	"lastRefreshTime", "queuedTime", "lastTransitionTime", "lastRefresh", "lastPing", "waitingSince", "failingSince", "doubted", "since",
	"refusedSince", "expirationTime", "lastHandledLinkRequest", "lastHandledRefreshRequest", "linkRequest", "refreshRequest",
}

// end returns the present state of the world, without anything that differs between two equivalent runs.
func (c *trial) end() []string {
	c.Helper()
	symbols := c.symbols()
	var lines []string
	uids := map[string]string{}
	for name, link := range c.links.latest() {
		uids[string(link.UID)] = name
		lines = append(lines, fmt.Sprintf("PlexLink %s: finalizers %v, deleted %t, status %s", name, link.Finalizers,
			link.DeletionTimestamp != nil, symbols.Replace(c.statusText(link))))
	}
	for _, secret := range c.secrets.latest() {
		lines = append(lines, symbols.Replace(secretText(secret, uids)))
	}
	valid := make([]string, 0, 1)
	for _, token := range c.sim.ValidTokens() {
		if !c.ignored[token] {
			valid = append(valid, symbols.Replace(token))
		}
	}
	slices.Sort(valid)
	lines = append(lines, fmt.Sprintf("plex.tv: %q", valid), "memory: "+c.memory())
	slices.Sort(lines)
	return lines
}

// symbols replaces random values by what they stand for.
func (c *trial) symbols() *strings.Replacer {
	pairs := slices.Clone(c.names)
	valid := c.sim.ValidTokens()
	named := map[string]bool{}
	for _, pin := range c.sim.PINs() {
		if pin.Token != "" && slices.Contains(valid, pin.Token) {
			pairs = append(pairs, pin.Token, "[valid token of "+pin.Account+"]")
		} else if pin.Token != "" {
			pairs = append(pairs, pin.Token, "[dead token of "+pin.Account+"]")
		}
		pairs = append(pairs, pin.ClientIdentifier, "[client identifier]")
		named[pin.Token], named[pin.ClientIdentifier] = true, true
	}
	for _, secret := range c.sim.Secrets() {
		if !named[secret] {
			pairs = append(pairs, secret, "[secret]")
		}
	}
	return strings.NewReplacer(pairs...)
}

// statusText is the status without times.
func (c *trial) statusText(link *v1alpha1.PlexLink) string {
	text, err := json.Marshal(link.Status)
	if err != nil {
		c.Fatal(err)
	}
	return withoutMoments(text, link.Generation)
}

// secretText describes a Secret; uids are the names of the links that exist.
func secretText(secret *corev1.Secret, uids map[string]string) string {
	delete(secret.Annotations, contentHashAnnotation)
	if uid := secret.Labels[v1alpha1.UIDLabel]; uid != "" {
		secret.Labels[v1alpha1.UIDLabel] = "of " + uids[uid]
	}
	owner := "none"
	if ref := metav1.GetControllerOf(secret); ref != nil {
		owner = "of " + uids[string(ref.UID)]
	}
	if state := secret.Data[keyState]; state != nil {
		secret.Data[keyState] = []byte(withoutMoments(state, 0))
	}
	return fmt.Sprintf("Secret %s: type %s, labels %v, annotations %v, owner %s, data %q", secret.Name, secret.Type, secret.Labels,
		secret.Annotations, owner, textOf(secret.Data))
}

// withoutMoments returns JSON without the momentary keys and random identifiers, with conditions in order, and with
// generations that are the present one as "now".
func withoutMoments(text []byte, generation int64) string {
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return string(text)
	}
	var prune func(any)
	prune = func(value any) {
		switch v := value.(type) {
		case map[string]any:
			for _, key := range momentary {
				delete(v, key)
			}
			for _, key := range []string{"uuid", "UUID", "import"} {
				if v[key] != nil {
					v[key] = "[some]"
				}
			}
			if conditions, ok := v["conditions"].([]any); ok {
				slices.SortFunc(conditions, func(a, b any) int { return strings.Compare(typeOf(a), typeOf(b)) })
			}
			if g, ok := v["observedGeneration"].(float64); ok && int64(g) == generation {
				v["observedGeneration"] = "now"
			}
			for _, inner := range v {
				prune(inner)
			}
		case []any:
			for _, inner := range v {
				prune(inner)
			}
		}
	}
	prune(value)
	pruned, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(pruned)
}

// typeOf returns the type of a condition.
func typeOf(condition any) string {
	fields, _ := condition.(map[string]any)
	text, _ := fields["type"].(string)
	return text
}

// memory returns what the running operator remembers.
func (c *trial) memory() string {
	if !c.operator().running() {
		return "no operator"
	}
	var values []string
	for _, name := range []string{"plexlink_remembered_links", "plexlink_pins_open", "plexlink_pin_queue_length"} {
		value, err := c.operator().gauge(name)
		values = append(values, fmt.Sprint(name, "=", value, err))
	}
	return strings.Join(values, " ")
}

// difference lists the lines that only one of two ends has; "": they are equal.
func difference(want, got []string) string {
	var text strings.Builder
	for _, line := range want {
		if !slices.Contains(got, line) {
			fmt.Fprintf(&text, "\n  want %s", line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			fmt.Fprintf(&text, "\n  got  %s", line)
		}
	}
	return text.String()
}

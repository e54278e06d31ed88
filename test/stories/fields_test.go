package stories

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
)

// field holds the values to try for a field of the spec, as JSON; "" leaves it out.
type field struct {
	// base is the spec beside the field.
	base string
	// Links with good values become Ready, those with bad ones do not, and the API server refuses invalid.
	good, bad []string
	invalid   string
	// before creates what the values name, besides what surround creates; nil if nothing.
	before func(*trial)
	// differs says why a link that had another value does not end like a fresh one; "" if it does.
	differs string
}

var (
	text128 = `"` + strings.Repeat("d", 128) + `"`
	text64  = `"` + strings.Repeat("p", 64) + `"`
	text253 = `"` + strings.Repeat("s", 253) + `"`
)

// fields has every field of the spec. ALICE and MACHINE stand for the identifiers of the account and of its server.
var fields = map[string]field{
	"account.allowLinkRefs": {good: []string{``, `true`, `false`}, invalid: `"yes"`},
	"account.linkRef.name": {
		before: func(c *trial) { c.linked("leader", func(l *v1alpha1.PlexLink) { l.Spec.Account.AllowLinkRefs = true }) },
		good:   []string{``, `"leader"`}, bad: []string{`"nope"`}, invalid: `"A_"`,
		differs: "a link whose token works keeps it when it is to follow another one",
	},
	"account.username": {good: []string{``, `"alice"`}, bad: []string{`"nobody"`}, invalid: `""`},
	"account.uuid":     {good: []string{``, `"ALICE"`}, bad: []string{`"nobody"`}, invalid: `""`},
	"deletionPolicy":   {good: []string{``, `"Revoke"`, `"Retain"`}, invalid: `"Keep"`},
	"device.importSecretRef.name": {
		good: []string{``, `"backup"`}, bad: []string{`"nope"`}, invalid: `"A_"`,
		differs: "a link that has a token imports no other one",
	},
	"device.name":                     {good: []string{``, `"My Device"`, text128}, invalid: `" x"`},
	"device.product":                  {good: []string{``, `"My Product"`, text64}, invalid: `" x"`},
	"refreshInterval":                 {good: []string{``, `"1m"`, `"6h"`}, invalid: `"59s"`},
	"secret.name":                     {good: []string{``, `"b"`, text253}, bad: []string{`"foreign"`}, invalid: `"B"`},
	"secret.template.type":            {good: []string{``, `"Opaque"`, `"example.com/plex"`}, invalid: `"kubernetes.io/tls"`},
	"secret.template.metadata.labels": {good: []string{``, `{"x": "1"}`, `{"x": "2", "y": "3"}`}, invalid: `{"plexlink.dev/a": "b"}`},
	"secret.template.metadata.annotations": {
		good: []string{``, `{"x": "1"}`, `{"x": "2", "y": "3"}`}, invalid: `{"plexlink.dev/a": "b"}`,
	},
	"secret.template.data": {
		good: []string{``, `{"A": "{{ .URL }}", "B": "b"}`, `{"B": "{{ .Token }}", "C": "c"}`},
		bad:  []string{`{"A": "{{ .Nope }}"}`}, invalid: `{"..": "x"}`,
	},
	"server.caProvider.type": {
		base: `{"server": {"caProvider": {"name": "ca"}}}`, good: []string{`"ConfigMap"`, `"Secret"`}, invalid: `"File"`,
	},
	"server.caProvider.name": {
		base: `{"server": {"caProvider": {"type": "ConfigMap"}}}`, good: []string{`"ca"`, `"ca2"`}, bad: []string{`"nope"`}, invalid: `"A_"`,
	},
	"server.caProvider.key": {
		base: `{"server": {"caProvider": {"type": "ConfigMap", "name": "ca"}}}`,
		good: []string{``, `"other.crt"`}, bad: []string{`"nope"`}, invalid: `"a/b"`,
	},
	"server.locations": {
		good: []string{``, `["Local"]`, `["Relay", "Remote", "Local", "Cluster"]`}, bad: []string{`["Relay"]`}, invalid: `["Local", "Local"]`,
	},
	"server.machineIdentifier": {good: []string{``, `"MACHINE"`}, bad: []string{`"nowhere"`}, invalid: `"a b"`},
	"server.name":              {good: []string{``, `"My Plex Server"`, `"my plex server"`}, bad: []string{`"Nowhere"`}, invalid: `""`},
	"server.schemes":           {good: []string{``, `["HTTP"]`, `["HTTPS", "HTTP"]`}, bad: []string{`["HTTPS"]`}, invalid: `["FTP"]`},
	"server.url": {
		good: []string{``, `"http://192.168.1.100:32400"`, `"http://192.168.1.101:32400/"`},
		bad:  []string{`"http://192.168.1.102:32400"`}, invalid: `"ftp://192.168.1.100"`,
	},
	"server.verification": {good: []string{``, `"Required"`, `"Skip"`}, invalid: `"Maybe"`},
	"suspend":             {good: []string{``, `false`}, bad: []string{`true`}, invalid: `"yes"`},
}

// TestEveryFieldGoesFromEachValueToEachOther changes every field of the spec from each of its values to each other one. The
// end equals that of a link created with the value, and a bad value has no effect once the former one is back.
func TestEveryFieldGoesFromEachValueToEachOther(t *testing.T) {
	t.Parallel()
	began := time.Now()
	leaves := map[string]crdSchema{}
	readCRD(t).Properties["spec"].walk("", func(path string, s crdSchema) {
		if len(s.Properties) == 0 && !strings.Contains(path, "[]") {
			leaves[path] = s
		}
	})
	var transitions atomic.Int64
	slots := make(chan struct{}, *trialsAtOnce)
	var all sync.WaitGroup
	for path, schema := range leaves {
		f, ok := fields[path]
		if !ok || len(f.good) < 2 {
			t.Errorf("spec.%s: got no values, want some in fields", path)
			continue
		}
		for _, member := range slices.Concat(schema.Enum, itemsOf(schema).Enum) {
			if !strings.Contains(fmt.Sprint(f.good, f.bad), `"`+member+`"`) {
				t.Errorf("spec.%s: got no value with %s, want one", path, member)
			}
		}
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			t.Run(path, func(t *testing.T) { f.try(newWorld(t), path, &transitions) })
		})
	}
	all.Wait()
	if len(leaves) != len(fields) {
		t.Errorf("got values for %d fields, want those of the schema, which are %d", len(fields), len(leaves))
	}
	t.Logf("fields: %d fields, %d transitions, failed %t, %s", len(leaves), transitions.Load(), t.Failed(),
		time.Since(began).Round(time.Second))
}

func itemsOf(s crdSchema) crdSchema {
	if s.Items == nil {
		return crdSchema{}
	}
	return *s.Items
}

// try walks through all ordered pairs of good values, then there and back to each bad one.
func (f field) try(w *world, path string, transitions *atomic.Int64) {
	c := newTrial(w, func(*operator) {})
	c.network.Update(func() { c.network.Listeners["192.168.1.101:32400"] = c.server.Addr })
	f.surround(c)
	if f.before != nil {
		f.before(c)
	}
	spec := func(value string) map[string]any {
		return specWith(w, f.base, path, strings.NewReplacer("ALICE", c.alice.UUID, "MACHINE", c.server.MachineIdentifier).Replace(value))
	}
	fresh := f.freshEnds(c, spec)
	now := f.good[len(f.good)-1]
	become := func(value, before string) {
		w.Helper()
		c.applySpec(spec(value))
		now = value
		transitions.Add(1)
		c.until(fmt.Sprintf("from %q to %q", before, value), func() error {
			if err := c.ready("kometa")(); err != nil {
				return err
			}
			if d := difference(fresh[value], c.end()); d != "" && f.differs == "" {
				return errors.New("the end differs from that of a fresh link:" + d)
			}
			return c.quiet()
		})
	}
	for i, a := range f.good {
		for _, b := range f.good[i+1:] {
			if now != a {
				become(a, now)
			}
			become(b, now)
			become(a, now)
		}
	}
	for _, bad := range f.bad {
		c.person = nil
		c.applySpec(spec(bad))
		c.until("a look at "+bad, func() error {
			if link := c.link("kometa"); link.Status.ObservedGeneration != link.Generation {
				return errNotYet
			}
			return c.quiet()
		})
		c.person = c.alice
		become(now, bad)
	}
	if err := c.writeSpec(spec(f.invalid)); !apierrors.IsInvalid(err) {
		w.Errorf("%s: got %v, want it to be refused as invalid", f.invalid, err)
	}
}

// freshEnds returns the end of a link created with each good value. The last of them stays.
func (f field) freshEnds(c *trial, spec func(string) map[string]any) map[string][]string {
	c.Helper()
	fresh := map[string][]string{}
	for i, value := range f.good {
		if i > 0 {
			c.deleted(c.link("kometa"))
			c.until("its end", c.gone("kometa"))
			f.removeKept(c)
		}
		c.applySpec(spec(value))
		c.until("linked with "+value, c.ready("kometa"))
		c.until("the rest", c.quiet)
		fresh[value] = c.end()
	}
	return fresh
}

// surround creates what some values name.
func (f field) surround(c *trial) {
	c.backUp("imported-identifier", c.sim.SignIn(c.alice, "imported-identifier"))
	c.ignoreToken(string(c.secret("backup").Data[keyToken]), "it is that of the Secret to import from")
	certificates := string(c.sim.CertPEM())
	for _, name := range []string{"ca", "ca2"} {
		meta := metav1.ObjectMeta{Name: name, Namespace: c.namespace}
		for _, object := range []client.Object{
			&corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"ca.crt": certificates, "other.crt": certificates}},
			&corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{"ca.crt": []byte(certificates)}},
		} {
			if err := admin.Create(c.Context(), object); err != nil {
				c.Fatal(err)
			}
		}
	}
	if err := admin.Create(c.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "foreign", Namespace: c.namespace}}); err != nil {
		c.Fatal(err)
	}
}

// removeKept removes what a deletion with the policy Retain kept.
func (f field) removeKept(c *trial) {
	for _, secret := range c.world.secrets(client.MatchingLabels{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy}) {
		c.ignoreToken(string(secret.Data[keyToken]), "it is that of a link that was retained")
		c.deleted(&secret)
	}
}

// specWith returns the base with the value at the path.
func specWith(w *world, base, path, value string) map[string]any {
	w.Helper()
	spec := map[string]any{}
	var decoded any
	for text, into := range map[string]any{base: &spec, value: &decoded} {
		if text != "" {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				w.Fatalf("%s: %v", text, err)
			}
		}
	}
	if value != "" {
		if err := unstructured.SetNestedField(spec, decoded, strings.Split(path, ".")...); err != nil {
			w.Fatal(err)
		}
	}
	return spec
}

// applySpec creates the link with a spec, or replaces its spec.
func (c *trial) applySpec(spec map[string]any) {
	c.Helper()
	if err := c.writeSpec(spec); err != nil {
		c.Fatal(err)
	}
}

func (c *trial) writeSpec(spec map[string]any) error {
	link := &unstructured.Unstructured{}
	link.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PlexLink"))
	err := admin.Get(c.Context(), client.ObjectKey{Namespace: c.namespace, Name: "kometa"}, link)
	if apierrors.IsNotFound(err) {
		link.SetName("kometa")
		link.SetNamespace(c.namespace)
		link.Object["spec"] = spec
		return admin.Create(c.Context(), link)
	}
	if err != nil {
		return err
	}
	before := link.DeepCopy()
	link.Object["spec"] = spec
	return admin.Patch(c.Context(), link, client.MergeFrom(before))
}

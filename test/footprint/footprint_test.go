//go:build footprint

// Package footprint measures the memory and the CPU of the released manager: "make footprint". The requests and limits of
// the manifests follow from its figures.
package footprint

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

var (
	links  = flag.Int("links", 10000, "how many PlexLinks are linked")
	settle = flag.Duration("settle", 150*time.Second, "time after a start before anything is measured: garbage is collected every two minutes at least")
	idle   = flag.Duration("idle", time.Minute, "time over which CPU and requests are measured")
)

const (
	foreign = 500
	mib     = 1 << 10 // in KiB, the unit of /proc

	// Limits of the manager's memory, in MiB.
	atRestLimit    = 120 // with 10,000 links
	linkingLimit   = 200 // while they are all linked at once
	templatesLimit = 100
	// foreignLimit is how much foreign Secrets may add. Two starts differ by a few MiB; cached Secrets would add over 100.
	foreignLimit = 30

	// pollCeiling is the longest time between two polls of a PIN.
	pollCeiling = 5 * time.Second
)

func TestFootprintOfLinks(t *testing.T) {
	w := start(t)
	none := w.measure("no links")

	w.addForeignSecrets(512<<10, 0, nil)
	others := w.measure(fmt.Sprintf("no links, %d foreign Secrets of 512 KiB", foreign))
	w.removeForeignSecrets()
	if others.resident > none.resident+foreignLimit*mib {
		t.Errorf("got %d MiB more with foreign Secrets, want them not cached", (others.resident-none.resident)/mib)
	}
	w.addForeignSecrets(0, 250<<10, map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy, v1alpha1.NameLabel: "foreign"})
	labeled := w.measure(fmt.Sprintf("no links, %d with our label and 250 KiB of annotations", foreign))
	w.removeForeignSecrets()
	if labeled.resident > none.resident+foreignLimit*mib {
		t.Errorf("got %d MiB more with annotations of foreign Secrets, want them not cached", (labeled.resident-none.resident)/mib)
	}

	w.createLinks(*links, nil)
	if linking := w.linkAll(*links); linking.peak > linkingLimit*mib {
		t.Errorf("got %d MiB while linking %d links at once, want less than %d", linking.peak/mib, *links, linkingLimit)
	}
	atRest := w.measure(fmt.Sprintf("%d links", *links))
	if atRest.resident > atRestLimit*mib {
		t.Errorf("got %d MiB with %d links at rest, want less than %d", atRest.resident/mib, *links, atRestLimit)
	}
	// All links use one server, which is checked every minute, give or take a tenth.
	t.Logf("%d links on one server make %d requests to it and %d to plex.tv within %s", *links, atRest.toServers, atRest.toPlexTV, *idle)
	if atRest.toServers > 2 || atRest.toPlexTV > 0 {
		t.Error("got more requests at rest, want at most 2 and none")
	}
	t.Logf("a link costs %d bytes", (atRest.resident-none.resident)<<10 / *links)
}

// largeTemplates returns templates as large as the CRD allows, in the two forms that need the most memory when parsed: many
// arguments, and many parentheses.
func largeTemplates() []map[string]v1alpha1.TemplateText {
	const size, depth = 65530, 900
	arguments := "{{ and .URL" + strings.Repeat(" 1", (size-16)/2) + " }}"
	nested := "{{" + strings.Repeat("(", depth) + ".URL" + strings.Repeat(")", depth) + "}}"
	nested = strings.Repeat(nested, size/len(nested))
	var templates []map[string]v1alpha1.TemplateText
	for _, text := range []string{arguments, nested} {
		templates = append(templates, map[string]v1alpha1.TemplateText{"A": v1alpha1.TemplateText(text), "B": v1alpha1.TemplateText(text)})
	}
	return templates
}

// Fault B9: twenty links with a large template took 515 MB, because each poll parsed it twice.
func TestFootprintOfLargeTemplates(t *testing.T) {
	const n = 20
	w := start(t)
	templates := largeTemplates()
	manager := w.manager()
	defer manager.stop()
	w.createLinks(n, func(i int, link *v1alpha1.PlexLink) {
		link.Spec.Secret.Template = &v1alpha1.SecretTemplate{Data: templates[i%len(templates)]}
	})
	w.enterPINs(n, 6*time.Second)
	manager.report(fmt.Sprintf("%d links with the largest templates, linked", n))
	// Its PIN stays open, and is polled while the others keep the workers busy.
	waiting := &v1alpha1.PlexLink{ObjectMeta: metav1.ObjectMeta{Namespace: otherNamespace, Name: "waiting"}}
	if err := w.Create(w.Context(), waiting); err != nil {
		w.Fatal(err)
	}
	w.eventually("one more PIN", func() error {
		if got := len(w.sim.PINs()); got <= n {
			return fmt.Errorf("got %d PINs, want %d", got, n+1)
		}
		return nil
	})

	w.changeAll(func(link *v1alpha1.PlexLink) { // All are rendered at once.
		metav1.SetMetaDataAnnotation(&link.ObjectMeta, v1alpha1.RefreshRequestedAtAnnotation, "now")
	}, func(link *v1alpha1.PlexLink) bool { return link.Status.LastHandledRefreshRequest == "now" })
	manager.report("all of them refreshed at once")
	w.changeAll(func(link *v1alpha1.PlexLink) { // Refused templates are parsed too.
		text := v1alpha1.TemplateText(strings.Repeat("{{0}}", 65530/5))
		link.Spec.Secret.Template.Data = map[string]v1alpha1.TemplateText{"A": text, "B": text}
	}, func(link *v1alpha1.PlexLink) bool { return readyReason(link) == v1alpha1.ReasonInvalidTemplate })

	got, gap := manager.report("all of them with a template that is refused"), w.longestGap()
	t.Logf("longest time between two polls of a PIN: %s", gap.Round(time.Millisecond))
	if gap > pollCeiling {
		t.Errorf("got %s between two polls of a PIN, want %s at most", gap.Round(time.Millisecond), pollCeiling)
	}
	if got.peak > templatesLimit*mib {
		t.Errorf("got %d MiB at most, want less than %d", got.peak/mib, templatesLimit)
	}
}

// longestGap returns the longest time in which an open PIN was not polled. The newest PIN is still open.
func (w *world) longestGap() time.Duration {
	w.Helper()
	pins, last := w.sim.PINs(), map[string]time.Time{}
	for _, pin := range pins {
		last[pin.ClientIdentifier] = pin.CreatedAt
	}
	longest := time.Duration(0)
	for _, r := range w.sim.Requests() {
		if r.Endpoint == plextest.CheckPIN {
			longest = max(longest, r.Time.Sub(last[r.ClientIdentifier]))
			last[r.ClientIdentifier] = r.Time
		}
	}
	return max(longest, time.Since(last[pins[len(pins)-1].ClientIdentifier]))
}

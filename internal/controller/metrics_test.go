package controller

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"k8s.io/utils/clock"

	"plexlink.dev/operator/internal/pace"
	"plexlink.dev/operator/internal/plex"
)

// exposition is what Prometheus would read.
func exposition(t testing.TB, metrics prometheus.Gatherer) string {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatalf("gather the metrics: %v", err)
	}
	var text bytes.Buffer
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			t.Fatal(err)
		}
	}
	return text.String()
}

// The labels are there from the start, so each class that a request can have must be among them.
func TestEveryClassOfAnswerHasALabel(t *testing.T) {
	t.Parallel()
	got := []string{}
	for _, err := range []error{
		nil, &plex.ThrottledError{}, plex.ErrTokenInvalid, plex.ErrPINGone, plex.ErrTokenRefused, plex.ErrUnavailable, plex.ErrBadRequest,
		&plex.ClaimRefusedError{},
	} {
		if err != nil {
			err = fmt.Errorf("ask: %w", err)
		}
		got = append(got, plex.Classify(err).String())
	}
	if diff := cmp.Diff(plexResults, got); diff != "" {
		t.Error(diff)
	}
}

func TestMetricsFollowTheConventionsOfPrometheus(t *testing.T) {
	t.Parallel()
	problems, err := promlint.New(strings.NewReader(exposition(t, everyMetric(t)))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// ofLeader are the metrics that only a replica shows that is elected. All are gauges.
var ofLeader = []string{
	"plexlink_links", "plexlink_link_not_ready", "plexlink_refresh_overdue_seconds", "plexlink_refresh_age_intervals",
	"plexlink_server_up", "plexlink_server_answered_timestamp_seconds",
}

func TestOnlyTheLeaderShowsLinks(t *testing.T) {
	t.Parallel()
	text := exposition(t, everyMetric(t))
	for _, name := range ofLeader {
		if strings.Contains(text, name) {
			t.Errorf("%s is shown without an election", name)
		}
	}
}

// everyMetric holds what a replica shows that is not elected.
func everyMetric(t testing.TB) *prometheus.Registry {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	r := &Reconciler{
		Clock: clock.RealClock{}, Version: "test", Metrics: registry,
		metrics: newMetrics(), memory: newMemory(), pace: pace.New(pace.Options{QPS: 5, Burst: 10}),
	}
	if err := r.registerMetrics(make(chan struct{})); err != nil {
		t.Fatal(err)
	}
	return registry
}

func TestDocumentedMetricsAreThoseThatExist(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(plexlink_\\w+)` \\| (\\w+) \\|").FindAllStringSubmatch(string(text), -1) {
		documented[row[1]] = row[2]
	}
	existing := map[string]string{}
	for _, name := range ofLeader {
		existing[name] = "gauge"
	}
	families, err := everyMetric(t).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		existing[family.GetName()] = strings.ToLower(family.GetType().String())
	}
	if diff := cmp.Diff(existing, documented); diff != "" {
		t.Errorf("docs/monitoring.md has other metrics than there are (- existing, + documented):\n%s", diff)
	}
}

package controller

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
	"plexlink.dev/operator/internal/plex/plextest"
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

// shows waits until the operator's metrics have the lines.
func (o *operator) shows(lines ...string) {
	o.w.Helper()
	o.w.eventually("metrics "+strings.Join(lines, ", "), func() error {
		text := exposition(o.w, o.metrics)
		for _, line := range lines {
			if !strings.Contains(text, "\n"+line+"\n") {
				return fmt.Errorf("%s is not in\n%s", line, text)
			}
		}
		return nil
	})
}

func TestMetricsTellTheLifeOfALink(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.startOperator()
	notReady := func(name, reason string) string {
		return fmt.Sprintf(`plexlink_link_not_ready{name="%s",namespace="%s",reason="%s"} 1`, name, w.namespace, reason)
	}
	w.create("kometa")
	w.reaches("kometa", v1alpha1.ReasonAwaitingLink)
	o.shows("plexlink_pins_issued_total 1", "plexlink_pins_open 1", `plexlink_links{status="AwaitingLink"} 1`,
		notReady("kometa", "AwaitingLink"), `plexlink_plex_requests_total{endpoint="pins.create",result="ok"} 1`)

	w.enterPIN("kometa")
	w.reaches("kometa", v1alpha1.ReasonLinked)
	w.settled("kometa")
	o.shows("plexlink_pins_claimed_total 1", "plexlink_pins_open 0", `plexlink_links{status="Linked"} 1`,
		"plexlink_claim_to_secret_seconds_count 1", "plexlink_secret_repairs_total 0", "plexlink_refresh_overdue_seconds 0",
		`plexlink_plex_requests_total{endpoint="resources",result="ok"} 1`)
	if text := exposition(t, o.metrics); strings.Contains(text, "plexlink_link_not_ready{") {
		t.Errorf("a link that is ready has a series of its own:\n%s", text)
	}

	if err := admin.Delete(t.Context(), w.secret("kometa")); err != nil {
		t.Fatal(err)
	}
	o.shows("plexlink_secret_repairs_total 1")
	s := w.secret("kometa")
	s.Data["PLEX_URL"] = []byte("wrong")
	if err := admin.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	o.shows("plexlink_secret_repairs_total 2")

	w.sim.RevokeTokens(w.alice)
	w.advance(2 * time.Hour)
	w.reaches("kometa", v1alpha1.ReasonTokenRevoked)
	o.shows("plexlink_pins_issued_total 2", `plexlink_links{status="Linked"} 0`, notReady("kometa", "TokenRevoked"),
		`plexlink_plex_requests_total{endpoint="resources",result="token_invalid"} 1`)

	w.advance(16 * time.Minute) // The PIN expires; the next one is issued at once.
	o.shows("plexlink_pins_expired_total 1", "plexlink_pins_issued_total 3")

	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Suspend = true })
	w.reaches("kometa", v1alpha1.ReasonSuspended)
	o.shows(notReady("kometa", "Suspended"))
}

func TestMetricsTellWhatIsWrongWithPlexTV(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	o.shows("plexlink_plex_reachable 1", "plexlink_plex_throttled_seconds_total 0")

	w.sim.Fault(plextest.Fault{Endpoint: plextest.Resources, Body: "<html>a page of some proxy</html>", Times: -1})
	w.advance(2 * time.Hour)
	o.shows("plexlink_plex_reachable 0")
	overdue := func() error {
		for line := range strings.Lines(exposition(t, o.metrics)) {
			var seconds float64
			if n, _ := fmt.Sscanf(line, "plexlink_refresh_overdue_seconds %f", &seconds); n == 1 && seconds > 50*60 && seconds < 70*60 {
				return nil
			}
		}
		return errors.New("the refresh is not overdue by an hour")
	}
	w.eventually("the overdue refresh", overdue)

	w.sim.ClearFaults()
	w.sim.Fault(plextest.Fault{Endpoint: plextest.Resources, Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"30"}}})
	w.advance(2 * time.Hour)
	o.shows("plexlink_plex_reachable 1", `plexlink_plex_requests_total{endpoint="resources",result="throttled"} 1`)
	w.advance(time.Minute)
	o.shows("plexlink_plex_throttled_seconds_total 30")
}

func TestPausesAreCountedOnceAndWhenTheyHavePassed(t *testing.T) {
	t.Parallel()
	b := newBudget(5, 10)
	after := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	b.observe(&plex.ThrottledError{RetryAfter: 10 * time.Second}, after(0), false)
	b.observe(&plex.ThrottledError{RetryAfter: 10 * time.Second}, after(4), false) // until 14
	b.observe(&plex.ThrottledError{RetryAfter: 2 * time.Second}, after(5), false)  // changes nothing
	b.observe(&plex.ThrottledError{RetryAfter: 6 * time.Second}, after(20), false)
	for at, want := range map[int]time.Duration{20: 14 * time.Second, 23: 17 * time.Second, 26: 20 * time.Second, 99: 20 * time.Second} {
		if got := b.throttledTime(after(at)); got != want {
			t.Errorf("after %d seconds the pauses add up to %s, want %s", at, got, want)
		}
	}
}

func TestResultsOfRequestsAreThoseOfTheClient(t *testing.T) {
	t.Parallel()
	got := []string{}
	for _, err := range []error{
		nil, &plex.ThrottledError{}, plex.ErrTokenInvalid, plex.ErrPINGone, plex.ErrUnavailable, plex.ErrBadRequest,
	} {
		if err != nil {
			err = fmt.Errorf("ask: %w", err)
		}
		got = append(got, plexResult(err))
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

func TestOnlyTheLeaderShowsLinks(t *testing.T) {
	t.Parallel()
	text := exposition(t, everyMetric(t))
	for _, name := range []string{"plexlink_links", "plexlink_link_not_ready", "plexlink_refresh_overdue_seconds"} {
		if strings.Contains(text, name) {
			t.Errorf("%s is there without an election", name)
		}
	}
}

// everyMetric has what a replica shows that is not elected.
func everyMetric(t testing.TB) *prometheus.Registry {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	r := &Reconciler{
		Clock: &movingClock{}, Version: "test", Metrics: registry,
		metrics: newMetrics(), budget: newBudget(5, 10), pins: newPINQueue(5),
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
	existing := map[string]string{"plexlink_links": "gauge", "plexlink_link_not_ready": "gauge", "plexlink_refresh_overdue_seconds": "gauge"}
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

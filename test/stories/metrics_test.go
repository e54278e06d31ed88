package stories

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// exposition returns the metrics in Prometheus's text format.
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

// shows waits until the operator's metrics contain the lines.
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

// gauge returns the value of a metric without labels.
func (o *operator) gauge(name string) (float64, error) {
	text := exposition(o.w, o.metrics)
	_, value, _ := strings.Cut(text, "\n"+name+" ")
	var number float64
	if _, err := fmt.Sscan(value, &number); err != nil {
		return 0, fmt.Errorf("the metric %s is not in\n%s", name, text)
	}
	return number, nil
}

func TestMetricsFollowTheLifeOfALink(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.startOperator()
	notReady := func(name, reason string) string {
		return fmt.Sprintf(`plexlink_link_not_ready{name="%s",namespace="%s",reason="%s"} 1`, name, w.namespace, reason)
	}
	w.create("kometa")
	w.awaitsPIN("kometa")
	o.shows("plexlink_pins_issued_total 1", "plexlink_pins_open 1", `plexlink_links{status="AwaitingLink"} 1`,
		notReady("kometa", "AwaitingLink"), `plexlink_plex_requests_total{endpoint="pins.create",result="ok"} 1`)

	w.enterPIN("kometa")
	w.reaches("kometa", v1alpha1.ReasonLinked)
	w.settled("kometa")
	o.shows("plexlink_pins_claimed_total 1", "plexlink_pins_open 0", `plexlink_links{status="Linked"} 1`,
		"plexlink_claim_to_secret_seconds_count 1", "plexlink_secret_repairs_total 0", "plexlink_refresh_overdue_seconds 0",
		`plexlink_plex_requests_total{endpoint="resources",result="ok"} 1`)
	if text := exposition(t, o.metrics); strings.Contains(text, "plexlink_link_not_ready{") {
		t.Errorf("got a plexlink_link_not_ready series for a ready link, want none:\n%s", text)
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

	w.ignoreToken(w.accountToken("kometa"), "alice revokes it, and the new PIN is not entered")
	w.sim.RevokeTokens(w.alice)
	w.advance(2 * time.Hour)
	w.reaches("kometa", v1alpha1.ReasonTokenRevoked)
	o.shows("plexlink_pins_issued_total 2", `plexlink_links{status="Linked"} 0`, notReady("kometa", "TokenRevoked"),
		`plexlink_plex_requests_total{endpoint="resources",result="token_invalid"} 1`)

	w.advance(16 * time.Minute) // The PIN expires and is replaced immediately.
	o.shows("plexlink_pins_expired_total 1", "plexlink_pins_issued_total 3")

	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Suspend = true })
	w.reaches("kometa", v1alpha1.ReasonSuspended)
	o.shows(notReady("kometa", "Suspended"))
}

func TestMetricsShowProblemsOfPlexTV(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	o.shows("plexlink_plex_reachable 1", "plexlink_plex_throttled_seconds_total 0")

	w.sim.Fault(plextest.Fault{Endpoint: plextest.Resources, Body: "<html>a page of some proxy</html>", Times: -1})
	w.advance(2 * time.Hour)
	o.shows("plexlink_plex_reachable 0")
	w.eventually("the overdue refresh", func() error {
		seconds, err := o.gauge("plexlink_refresh_overdue_seconds")
		if err == nil && (seconds < 50*60 || seconds > 70*60) {
			err = fmt.Errorf("got a refresh overdue by %v seconds, want about an hour", seconds)
		}
		return err
	})

	w.sim.ClearFaults()
	w.sim.Fault(plextest.Fault{Endpoint: plextest.Resources, Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"30"}}})
	w.advance(2 * time.Hour)
	o.shows("plexlink_plex_reachable 1", `plexlink_plex_requests_total{endpoint="resources",result="throttled"} 1`)
	w.advance(time.Minute)
	o.shows("plexlink_plex_throttled_seconds_total 30")
}

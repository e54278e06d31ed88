package controller

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
	"plexlink.dev/operator/internal/servercheck"
)

// The endpoints of plex.tv and the results of requests, as labels. All pairs exist from the start: Prometheus does not see
// the first increase of a series that begins with it.
var (
	plexEndpoints = []string{"pins.create", "pins.check", "pins.link", "user", "resources", "ping", "signout"}
	plexResults   = []string{"ok", "throttled", "token_invalid", "pin_gone", "token_refused", "unavailable", "bad_request", "claim_refused"}
)

// metrics holds the counters and histograms. No label holds a secret or grows with the number of links.
type metrics struct {
	pinsIssued, pinsClaimed, pinsExpired prometheus.Counter
	secretRepairs, recordsSkipped        prometheus.Counter
	claimToSecret                        prometheus.Histogram
	plexRequests                         *prometheus.CounterVec
	plexSeconds                          *prometheus.HistogramVec
	plexReachable                        prometheus.Gauge
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		pinsIssued:    counter("plexlink_pins_issued_total", "PINs that plex.tv has issued."),
		pinsClaimed:   counter("plexlink_pins_claimed_total", "PINs that were entered and whose tokens were stored."),
		pinsExpired:   counter("plexlink_pins_expired_total", "PINs that expired before they were entered."),
		secretRepairs: counter("plexlink_secret_repairs_total", "Secrets that were restored after another client edited or deleted them."),
		recordsSkipped: counter("plexlink_plex_records_skipped_total",
			"Unreadable records that were skipped in plex.tv's lists of servers."),
		claimToSecret: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "plexlink_claim_to_secret_seconds",
			Help:    "Time from receiving the token of an entered PIN until the Secret was in place.",
			Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800},
		}),
		plexRequests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "plexlink_plex_requests_total", Help: "Requests to plex.tv, by endpoint and result.",
		}, []string{"endpoint", "result"}),
		plexSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "plexlink_plex_request_duration_seconds", Help: "Duration of requests to plex.tv.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"endpoint"}),
		plexReachable: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "plexlink_plex_reachable", Help: "1 if plex.tv answered the last request as expected, or was not asked yet, 0 if not.",
		}),
	}
	m.plexReachable.Set(1)
	for _, endpoint := range plexEndpoints {
		m.plexSeconds.WithLabelValues(endpoint)
		for _, result := range plexResults {
			m.plexRequests.WithLabelValues(endpoint, result)
		}
	}
	return m
}

// registerMetrics registers all metrics. Those of links have values once this replica is elected.
func (r *Reconciler) registerMetrics(elected <-chan struct{}) error {
	m := r.metrics
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "plexlink_build_info", Help: "Always 1; the version of the operator.", ConstLabels: prometheus.Labels{"version": r.Version},
	})
	build.Set(1)
	for _, c := range []prometheus.Collector{
		m.pinsIssued, m.pinsClaimed, m.pinsExpired, m.secretRepairs, m.recordsSkipped, m.claimToSecret,
		m.plexRequests, m.plexSeconds, m.plexReachable, build,
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "plexlink_plex_throttled_seconds_total", Help: "Time during which no request was sent because plex.tv limits them.",
		}, func() float64 { return r.pace.ThrottledTime(r.Clock.Now()).Seconds() }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "plexlink_pins_open", Help: "PINs that are open, waiting for a person to enter them.",
		}, func() float64 { return float64(r.pace.OpenPINs()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "plexlink_pin_queue_length", Help: "PlexLinks that wait for their turn to get a PIN.",
		}, func() float64 { return float64(r.pace.QueueLength()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "plexlink_plex_allowed_rate", Help: "Limit of requests to plex.tv per second; lower while plex.tv limits them.",
		}, r.pace.Rate),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "plexlink_remembered_links", Help: "PlexLinks whose state this process holds in memory.",
		}, func() float64 { return float64(r.memory.size()) }),
		&linkCollector{r, elected},
	} {
		if err := r.Metrics.Register(c); err != nil {
			return err
		}
	}
	return nil
}

var (
	linksDesc = prometheus.NewDesc("plexlink_links", "PlexLinks by status, as kubectl get shows it.", []string{"status"}, nil)
	// notReadyDesc names links, because an alert has to say which one failed. Links that work have no series.
	notReadyDesc = prometheus.NewDesc("plexlink_link_not_ready", "1 for each PlexLink that is not ready, by status.",
		[]string{"namespace", "name", "reason"}, nil)
	overdueDesc = prometheus.NewDesc("plexlink_refresh_overdue_seconds",
		"Time for which the most overdue refresh has been due; 0 if none is.", nil, nil)
	ageDesc = prometheus.NewDesc("plexlink_refresh_age_intervals",
		"Age of the last successful refresh, in refresh intervals, of the ready PlexLink where it is highest.", nil, nil)
	// A server has its name in Plex, and a hash of its address, because several may have the same name.
	serverUpDesc = prometheus.NewDesc("plexlink_server_up",
		"1 while the media server answers at an address that is in use, 0 when it does not.", []string{"server", "address"}, nil)
	serverAnsweredDesc = prometheus.NewDesc("plexlink_server_answered_timestamp_seconds",
		"When the media server last answered at an address that is in use.", []string{"server", "address"}, nil)
)

// linkCollector derives metrics from the PlexLinks at each scrape, so that nothing has to be kept in sync. Only the leader
// shows them, or every link would be counted once for each replica.
type linkCollector struct {
	r       *Reconciler
	elected <-chan struct{}
}

// Describe implements [prometheus.Collector].
func (c *linkCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- linksDesc
	descs <- notReadyDesc
	descs <- overdueDesc
	descs <- ageDesc
	descs <- serverUpDesc
	descs <- serverAnsweredDesc
}

// Collect implements [prometheus.Collector].
func (c *linkCollector) Collect(out chan<- prometheus.Metric) {
	select {
	case <-c.elected:
	default:
		return
	}
	// The list comes from the cache, which may still be filling; a scrape must not wait for it.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var links v1alpha1.PlexLinkList
	if err := c.r.Client.List(ctx, &links, client.UnsafeDisableDeepCopy); err != nil {
		return
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	counts := map[string]int{v1alpha1.ReasonLinked: 0}
	now := c.r.Clock.Now()
	var overdue time.Duration
	age := 0.0
	names := map[string]string{}
	for i := range links.Items {
		link := &links.Items[i]
		status, ready := readyOf(link)
		counts[status]++
		if sv := link.Status.Server; sv != nil {
			names[sv.URL] = sv.Name
		}
		if !ready {
			gauge(notReadyDesc, 1, link.Namespace, link.Name, status)
		} else if link.DeletionTimestamp == nil {
			if last := link.Status.LastRefreshTime; last != nil {
				overdue = max(overdue, -untilRefresh(link, last.Time, now))
				age = max(age, now.Sub(last.Time).Seconds()/refreshInterval(link).Seconds())
			}
		}
	}
	for status, count := range counts {
		gauge(linksDesc, float64(count), status)
	}
	gauge(overdueDesc, overdue.Seconds())
	gauge(ageDesc, age)
	c.r.servers.Each(func(t servercheck.Target, _ int, up bool, answered time.Time) {
		labels := []string{names[t.URL], shortHash([]byte(t.URL + t.CA + t.MachineIdentifier))[:8]}
		value := 0.0
		if up {
			value = 1
		}
		gauge(serverUpDesc, value, labels...)
		if !answered.IsZero() {
			gauge(serverAnsweredDesc, float64(answered.Unix()), labels...)
		}
	})
}

// readyOf returns the STATUS of a link; Pending if the operator has not seen it yet.
func readyOf(link *v1alpha1.PlexLink) (status string, ready bool) {
	c := meta.FindStatusCondition(link.Status.Conditions, v1alpha1.ConditionReady)
	if c == nil {
		return "Pending", false
	}
	return c.Reason, c.Status == metav1.ConditionTrue
}

// plexAnswered counts a request to plex.tv. Its result is the client's verdict, not the HTTP status: a proxy's page is not
// an answer of plex.tv.
func (m *metrics) plexAnswered(endpoint string, took time.Duration, class plex.Class) {
	if class == plex.ClassCanceled {
		return
	}
	m.plexSeconds.WithLabelValues(endpoint).Observe(took.Seconds())
	m.plexRequests.WithLabelValues(endpoint, class.String()).Inc()
	reachable := 1.0
	if class == plex.ClassUnavailable {
		reachable = 0
	}
	m.plexReachable.Set(reachable)
}

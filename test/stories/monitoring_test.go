package stories

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// TestDashboardAndAlertsShowARealManager scrapes the released manager with a real Prometheus, as an installation does, and
// runs every query of the dashboard.
func TestDashboardAndAlertsShowARealManager(t *testing.T) {
	t.Parallel()
	prometheus, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("SKIPPED: prometheus not found; install it (Debian: apt install prometheus)")
	}
	w := newWorld(t)
	m := w.startManagerWithMetrics()
	p := w.startPrometheus(prometheus, m.address, m.token(w, "prometheus", true))
	w.eventually("the first scrape", func() error { return p.hasData(`plexlink_pins_issued_total == 0`, false) })

	w.linked("kometa")
	w.linked("tautulli")
	if err := admin.Delete(t.Context(), w.secret("tautulli")); err != nil {
		t.Fatal(err)
	}
	w.eventually("the repair", func() error {
		if w.secret("tautulli") == nil {
			return errNotYet
		}
		return nil
	})
	w.sim.Fault(plextest.Fault{Endpoint: plextest.CreatePIN, Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"2"}}})
	w.create("homepage")
	code := w.awaitsPIN("homepage").Status.PIN
	w.clock.advance(16 * time.Minute) // By plex.tv's clock the PIN expires.
	w.eventually("the next PIN", func() error {
		if now := w.link("homepage").Status.PIN; now == nil || *now == *code {
			return errNotYet
		}
		return nil
	})
	w.waive(checkTokens, "alice revokes all tokens, and the manager exits before it notices")
	w.sim.RevokeTokens(w.alice)
	w.change("kometa", func(l *v1alpha1.PlexLink) { l.Spec.Server.Name = "My Plex Server" })
	w.reaches("kometa", v1alpha1.ReasonTokenRevoked)

	for _, panel := range readDashboard(t).Panels {
		// Nothing failed and no refresh was late, but these panels have data.
		mayBeZero := panel.Title == "Oldest refresh that is due"
		for _, target := range panel.Targets {
			query := strings.NewReplacer("$__rate_interval", "2m", "$__range", "2m").Replace(target.Expr)
			w.eventually(fmt.Sprintf("data in the panel %q for %s", panel.Title, target.Expr), func() error {
				zero := mayBeZero || target.LegendFormat == "errors" || target.LegendFormat == "in the queue"
				return p.hasData(query, !zero)
			})
		}
	}
	w.eventually("the alert", func() error {
		return p.hasData(fmt.Sprintf(`ALERTS{alertname="PlexLinkTokenRevoked", namespace=%q, name="kometa"}`, w.namespace), true)
	})
	if problems := p.get("/api/v1/rules"); strings.Contains(problems, `"health":"err"`) || strings.Count(problems, `"health":"ok"`) != 7 {
		t.Errorf("got an alert that cannot be evaluated: %s", problems)
	}
	_, text := m.get(w, m.token(w, "person", true))
	for _, secret := range w.sim.Secrets() {
		if strings.Contains(text, secret) {
			t.Error("got a secret in the metrics, want none")
		}
	}
}

func TestMetricsNeedAPermissionOfTheCluster(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.startManagerWithMetrics()
	for name, c := range map[string]struct {
		token string
		want  int
	}{
		"a caller without a token":  {"", http.StatusUnauthorized},
		"an unknown token":          {"invented", http.StatusUnauthorized},
		"an account without rights": {m.token(w, "stranger", false), http.StatusForbidden},
		"an account with rights":    {m.token(w, "prometheus", true), http.StatusOK},
	} {
		status, text := m.get(w, c.token)
		if status != c.want {
			t.Errorf("%s: got status %d, want %d", name, status, c.want)
		}
		if got := strings.Contains(text, "plexlink_"); got != (c.want == http.StatusOK) {
			t.Errorf("%s: got metrics %t, want %t", name, got, !got)
		}
	}
}

// managerWithMetrics is a released manager that serves metrics.
type managerWithMetrics struct{ address string }

// startManagerWithMetrics starts the manager with the permissions in config/rbac that serving metrics needs.
func (w *world) startManagerWithMetrics() *managerWithMetrics {
	w.Helper()
	w.bind("../../config/rbac/metrics_auth_role.yaml", "controller-manager", "plexlink-system")
	m := &managerWithMetrics{freeAddress(w)}
	managerBinary(w, "--metrics-bind-address="+m.address, "--server-check-interval=1s")().awaitWork()
	return m
}

// bind grants a ClusterRole of config/rbac to a ServiceAccount.
func (w *world) bind(roleFile, account, namespace string) {
	w.Helper()
	text, err := os.ReadFile(roleFile)
	if err != nil {
		w.Fatal(err)
	}
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(text, &role); err != nil {
		w.Fatal(err)
	}
	role.Name += "-" + w.namespace
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: role.Name + "-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account, Namespace: namespace}},
	}
	for _, object := range []client.Object{&role, binding} {
		if err := admin.Create(w.Context(), object); err != nil && !apierrors.IsAlreadyExists(err) {
			w.Fatal(err)
		}
		w.Cleanup(func() { _ = admin.Delete(context.Background(), object) })
	}
}

// token creates a ServiceAccount, with or without permission to read metrics, and a token for it.
func (m *managerWithMetrics) token(w *world, name string, mayRead bool) string {
	w.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace}}
	request := &authenticationv1.TokenRequest{}
	if err := errors.Join(admin.Create(w.Context(), account), admin.SubResource("token").Create(w.Context(), account, request)); err != nil {
		w.Fatal(err)
	}
	if mayRead {
		w.bind("../../config/rbac/metrics_reader_role.yaml", name, w.namespace)
	}
	return request.Status.Token
}

// get reads the metrics, without authentication if token is "".
func (m *managerWithMetrics) get(w *world, token string) (status int, text string) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), http.MethodGet, "https://"+m.address+"/metrics", nil)
	if err != nil {
		w.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // its own certificate
	defer transport.CloseIdleConnections()
	var resp *http.Response
	w.eventually("a response with metrics", func() error { resp, err = transport.RoundTrip(req); return err })
	defer resp.Body.Close() //nolint:errcheck // nothing was written
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// freeAddress returns an unused address on loopback.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nothing was written
	return l.Addr().String()
}

// prometheusServer is a running Prometheus.
type prometheusServer struct {
	w       *world
	address string
}

// startPrometheus starts a Prometheus that scrapes the manager and evaluates the alerts every second.
func (w *world) startPrometheus(binary, manager, token string) *prometheusServer {
	w.Helper()
	dir := w.TempDir()
	alerts, err := filepath.Abs("../../charts/plexlink/files/alerts.yaml")
	if err != nil {
		w.Fatal(err)
	}
	config := map[string]any{
		"global":     map[string]any{"scrape_interval": "1s", "evaluation_interval": "1s"},
		"rule_files": []string{alerts},
		"scrape_configs": []any{map[string]any{
			"job_name": "plexlink", "scheme": "https", "honor_labels": true,
			"authorization": map[string]any{"credentials": token},
			"tls_config":    map[string]any{"insecure_skip_verify": true},
			// The Prometheus operator sets these for a ServiceMonitor.
			"static_configs": []any{map[string]any{
				"targets": []string{manager},
				"labels":  map[string]string{"namespace": "plexlink-system", "pod": "manager", "endpoint": "https"},
			}},
		}},
	}
	text, err := yaml.Marshal(config)
	if err != nil {
		w.Fatal(err)
	}
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		w.Fatal(err)
	}
	p := &prometheusServer{w, freeAddress(w)}
	log := &syncBuffer{}
	cmd := exec.Command(binary, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+p.address)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // The error is that it was killed.
		if w.Failed() {
			w.Log(log.String())
		}
	})
	return p
}

// get sends a request to its API.
func (p *prometheusServer) get(path string) string {
	p.w.Helper()
	req, err := http.NewRequestWithContext(p.w.Context(), http.MethodGet, "http://"+p.address+path, nil)
	if err != nil {
		p.w.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error() // It is still starting.
	}
	defer resp.Body.Close() //nolint:errcheck // nothing was written
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return string(body)
}

// hasData returns nil if a query has a number as result, greater than 0 if so wanted.
func (p *prometheusServer) hasData(query string, positive bool) error {
	text := p.get("/api/v1/query?query=" + url.QueryEscape(query))
	var answer struct {
		Data struct {
			Result []struct {
				Value [2]any
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return fmt.Errorf("%s: %s", err, text)
	}
	for _, sample := range answer.Data.Result {
		value, err := strconv.ParseFloat(fmt.Sprint(sample.Value[1]), 64)
		if err == nil && value >= 0 && (value > 0 || !positive) {
			return nil
		}
	}
	return fmt.Errorf("%s: got %s", query, text)
}

// dashboard holds the parts of a Grafana dashboard that matter here.
type dashboard struct {
	Panels []struct {
		Title, Description string
		Targets            []struct{ Expr, LegendFormat string }
	}
}

func readDashboard(t testing.TB) dashboard {
	t.Helper()
	text, err := os.ReadFile("../../charts/plexlink/files/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Panels) == 0 {
		t.Fatal("the dashboard has no panels")
	}
	for _, panel := range d.Panels {
		if panel.Title == "" || panel.Description == "" || len(panel.Targets) == 0 {
			t.Errorf("panel %q has no title, description or query", panel.Title)
		}
	}
	return d
}

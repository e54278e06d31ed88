// Package monitoring tests the alerts with promtool.
package monitoring

import (
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

func TestAlertsFireWhenTheyShould(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("SKIPPED, there is no promtool: install Prometheus (Debian: apt install prometheus)")
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "test", "rules", "alerts_test.yaml").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestKustomizeAndChartHaveTheSameAlerts(t *testing.T) {
	t.Parallel()
	var rule struct{ Spec any }
	var alerts any
	for file, into := range map[string]any{
		"../../config/prometheus/prometheus_rule.yaml": &rule,
		"../../charts/plexlink/files/alerts.yaml":      &alerts,
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, into); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	if diff := cmp.Diff(alerts, rule.Spec); diff != "" {
		t.Errorf("config/prometheus/prometheus_rule.yaml differs from charts/plexlink/files/alerts.yaml:\n%s", diff)
	}
}

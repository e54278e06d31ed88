package stories

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"

	"plexlink.dev/operator/api/v1alpha1"
)

// Faults A3 and A4, as deployed: a single manager survives an API server outage of a minute, and the kubelet does not restart
// it. One PIN is entered during the outage, so its token is only in memory, another one afterwards.
func TestDeployedManagerSurvivesAnOutageOfTheAPIServer(t *testing.T) {
	t.Parallel()
	const outage = time.Minute
	w := newWorld(t)
	apiServer, host := newAPIServerWire(w)
	probes := freeAddress(w)
	arguments := append(deployedArguments(w), "--metrics-bind-address=0", "--health-probe-bind-address="+probes)
	managerUnder(w, throughWire(host), arguments...)().awaitWork()

	codes, enter := w.twoPINs()
	apiServer.cut()
	began := time.Now()
	enter("during")
	w.eventually("the token in the manager's memory", func() error {
		for _, pin := range w.sim.PINs() {
			if pin.Collected {
				return nil
			}
		}
		return errNotYet
	})
	time.Sleep(time.Until(began.Add(outage))) // The outage lasts this long.
	if w.secret("during-plexlink-device").Data[keyToken] != nil {
		t.Fatal("the token was stored during the outage, want the manager to be cut off")
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if err := probe(w, probes, path); err != nil {
			t.Errorf("after %s without the API server: %v", outage, err)
		}
	}
	apiServer.mend()
	enter("after")
	for name := range codes {
		w.reaches(name, v1alpha1.ReasonLinked)
		checkSecretOpensServer(t, w.secret(name))
	}
	checkPolls(w, "after")
	if pins := w.sim.PINs(); len(pins) != len(codes) {
		t.Errorf("got %d PINs, want one for each link", len(pins))
	}
}

// deployedArguments returns the manager's arguments in config/manager; test/install compares them with those in the chart
// for a single replica.
func deployedArguments(w *world) []string {
	w.Helper()
	manifests, err := os.ReadFile("../../config/manager/manager.yaml")
	if err != nil {
		w.Fatal(err)
	}
	_, text, _ := bytes.Cut(manifests, []byte("\n---\n"))
	var deployment appsv1.Deployment
	if err := yaml.UnmarshalStrict(text, &deployment); err != nil {
		w.Fatal(err)
	}
	containers := deployment.Spec.Template.Spec.Containers
	if len(containers) != 1 || len(containers[0].Args) == 0 {
		w.Fatalf("got %d containers, want one with arguments", len(containers))
	}
	return containers[0].Args
}

// throughWire returns a command that changes the API server's address in the kubeconfig to host and runs its arguments.
func throughWire(host string) []string {
	return []string{"sh", "-ec", `sed -i "s|server: .*|server: $0|" "$KUBECONFIG"; exec "$@"`, host}
}

// probe sends the kubelet's probes, with its time-out.
func probe(w *world, address, path string) error {
	w.Helper()
	kubelet := http.Client{Timeout: time.Second}
	resp, err := kubelet.Get("http://" + address + path)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: got %s, want 200", path, resp.Status)
	}
	return nil
}

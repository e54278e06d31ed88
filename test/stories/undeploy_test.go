package stories

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"plexlink.dev/operator/internal/plex/plextest"
)

// cluster is a separate API server, for whole installations.
type cluster struct {
	*world
	kubeconfig string
}

func newCluster(w *world) *cluster {
	w.Helper()
	environment := &envtest.Environment{BinaryAssetsDirectory: assets}
	environment.ControlPlane.GetAPIServer().Configure().Append("disable-admission-plugins", "ServiceAccount")
	w.Cleanup(func() {
		if err := environment.Stop(); err != nil {
			w.Errorf("stop the API server: %v", err)
		}
	})
	if _, err := environment.Start(); err != nil {
		w.Fatal(err)
	}
	c := &cluster{w, filepath.Join(w.TempDir(), "kubeconfig")}
	if err := os.WriteFile(c.kubeconfig, environment.KubeConfig, 0o600); err != nil {
		w.Fatal(err)
	}
	c.start(filepath.Join(assets, "kube-controller-manager"), "--kubeconfig", c.kubeconfig, "--controllers=namespace-controller",
		"--leader-elect=false", "--secure-port=0")
	return c
}

// start runs a program in the background with the cluster's kubeconfig.
func (c *cluster) start(program string, args ...string) {
	c.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig)
	if err := cmd.Start(); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // The error is that it was killed.
	})
}

// run runs a program with the cluster as its current one and returns its output.
func (c *cluster) run(stdin, program string, args ...string) string {
	c.Helper()
	limited, cancel := context.WithTimeout(c.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(limited, program, args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") })
	cmd.Env = append(cmd.Env, "KUBECONFIG="+c.kubeconfig)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.Fatalf("%s %q: %v\n%s", filepath.Base(program), args, err, out)
	}
	return string(out)
}

func (c *cluster) kubectl(args ...string) string {
	c.Helper()
	return c.run("", filepath.Join(assets, "kubectl"), args...)
}

// deploys installs the same manifests as `make deploy`.
func (c *cluster) deploys() {
	c.Helper()
	c.kubectl("apply", "-k", "../../config/default")
	c.kubectl("wait", "--for", "condition=Established", "crd/plexlinks.plexlink.dev")
}

// undeploys runs `make undeploy` and checks that nothing is left.
func (c *cluster) undeploys() {
	c.Helper()
	start := time.Now()
	out := c.run("", "make", "-C", "../..", "undeploy", "KUBECTL="+filepath.Join(assets, "kubectl"))
	c.Logf("make undeploy took %s", time.Since(start).Round(100*time.Millisecond))
	left := c.kubectl("get", "crd,deployment,clusterrole,namespace", "--all-namespaces", "-o", "name", "--ignore-not-found")
	if strings.Contains(left, "plexlink") {
		c.Errorf("got %s left, want nothing of ours; make printed\n%s", left, out)
	}
}

// Fault A20: `make undeploy` waited forever for finalizers that nothing would remove.
func TestUndeployEndsWhetherTheManagerRunsOrNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	binary, err := buildManager()
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(w)
	const link = "{apiVersion: plexlink.dev/v1alpha1, kind: PlexLink, metadata: {name: NAME, namespace: default, finalizers: [plexlink.dev/sign-out]}}"

	c.deploys() // Nothing runs the Deployment.
	for _, name := range []string{"kometa", "deleted"} {
		c.run(strings.ReplaceAll(link, "NAME", name), filepath.Join(assets, "kubectl"), "apply", "-f", "-")
	}
	c.kubectl("delete", "plexlink", "-n", "default", "deleted", "--wait=false")
	c.undeploys()
	c.undeploys() // Again, with nothing left.

	c.deploys()
	c.start(binary, "--plex-url="+w.sim.URL, "--deny-server-cidrs=169.254.0.0/16", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	c.kubectl("patch", "deployment", "-n", "plexlink-system", "plexlink-controller-manager", "--subresource=status", "--type=merge",
		"-p", `{"status":{"conditions":[{"type":"Available","status":"True","reason":"Test","message":"It runs beside the test"}]}}`)
	c.run(strings.ReplaceAll(link, "NAME", "kometa"), filepath.Join(assets, "kubectl"), "apply", "-f", "-")
	get := func(path string) string {
		return c.kubectl("get", "plexlink", "-n", "default", "kometa", "-o", "jsonpath={.status."+path+"}")
	}
	w.eventually("a PIN", func() error {
		if get("pin.code") == "" {
			return errNotYet
		}
		return nil
	})
	if err := w.sim.Link(get("pin.code"), w.alice); err != nil {
		t.Fatal(err)
	}
	w.eventually("the link", func() error {
		if reason := get(`conditions[?(@.type=="Ready")].reason`); reason != "Linked" {
			return errors.New(reason)
		}
		return nil
	})
	c.undeploys()
	if n := w.sim.Count(plextest.SignOut); n != 1 {
		t.Errorf("got %d sign-outs, want one", n)
	}
}

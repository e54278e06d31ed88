package stories

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// buildManager builds the released manager, once.
var buildManager = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "build", "-o", managerFile, "../../cmd/manager").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the manager: %w\n%s", err, out)
	}
	return managerFile, nil
})

// managerBinary builds the released manager and returns a command that starts it for a world: it has the operator's
// permissions and logs at the highest level.
func managerBinary(w *world, flags ...string) func() *process {
	w.Helper()
	return managerUnder(w, nil, flags...)
}

// managerUnder is managerBinary with a command that starts the manager, or nil.
func managerUnder(w *world, starter []string, flags ...string) func() *process {
	w.Helper()
	binary, err := buildManager()
	if err != nil {
		w.Fatal(err)
	}
	kubeconfig := writeKubeconfig(w, operatorConfig)
	flags = append([]string{
		"--watch-namespaces=" + w.namespace, "--plex-url=" + w.sim.URL,
		"--deny-server-cidrs=169.254.0.0/16", "--zap-log-level=10",
		"--metrics-bind-address=0", "--health-probe-bind-address=0",
	}, flags...)
	command := append(append(starter, binary), flags...)
	return func() *process {
		w.Helper()
		p := &process{TB: w, cmd: exec.Command(command[0], command[1:]...), log: w.logs, working: make(chan struct{})}
		p.cmd.Stdout, p.cmd.Stderr = p, p
		// The environment of the tests must not affect the manager.
		p.cmd.Env = []string{"HOME=" + filepath.Dir(kubeconfig), "KUBECONFIG=" + kubeconfig}
		if err := p.cmd.Start(); err != nil {
			w.Fatal(err)
		}
		w.Cleanup(func() { _ = p.cmd.Process.Kill() })
		return p
	}
}

// writeKubeconfig writes a config into a new directory and returns the name of the file.
func writeKubeconfig(w *world, from *rest.Config) string {
	w.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{Server: from.Host, CertificateAuthorityData: from.CAData}
	config.AuthInfos["operator"] = &clientcmdapi.AuthInfo{Token: from.BearerToken}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "operator"}
	config.CurrentContext = "test"
	file := filepath.Join(w.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		w.Fatal(err)
	}
	return file
}

// process is a running manager.
type process struct {
	testing.TB
	cmd     *exec.Cmd
	log     *syncBuffer
	working chan struct{} // closed when its workers start
	once    sync.Once
}

// Write receives the manager's log.
func (p *process) Write(text []byte) (int, error) {
	if bytes.Contains(text, []byte("Starting workers")) {
		p.once.Do(func() { close(p.working) })
	}
	return p.log.Write(text)
}

// awaitWork waits until the manager's workers have started.
func (p *process) awaitWork() {
	p.Helper()
	select {
	case <-p.working:
	case <-time.After(30 * time.Second):
		lines := strings.Split(p.log.String(), "\n")
		p.Fatalf("the manager's workers did not start:\n%s", strings.Join(lines[max(0, len(lines)-20):], "\n"))
	}
}

// kill sends the manager SIGKILL and waits until it has exited.
func (p *process) kill() {
	p.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.Fatalf("the manager exited before it was killed: %v", err)
	}
	_ = p.cmd.Wait() // It was killed, which is an error.
}

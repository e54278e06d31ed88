//go:build footprint

// Package footprint measures what the manager needs when nothing happens: "make footprint". From its figures come the
// requests and limits of the manifests.
package footprint

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

const (
	links        = 1000
	foreign      = 500
	foreignBytes = 512 << 10
	settle       = 20 * time.Second // until what the start needed is given back
	idle         = time.Minute      // over which CPU is measured
	namespace    = "default"
	// patience for a step, which on a busy machine takes minutes.
	patience = 20 * time.Minute
)

func TestFootprint(t *testing.T) {
	w := start(t)
	without := w.measure("0 links, no foreign Secrets")
	w.addForeignSecrets()
	withForeign := w.measure(fmt.Sprintf("0 links, %d foreign Secrets of %d KiB", foreign, foreignBytes>>10))
	w.link()
	w.measure(fmt.Sprintf("%d links, %d foreign Secrets of %d KiB", links, foreign, foreignBytes>>10))
	w.removeForeignSecrets()
	w.measure(fmt.Sprintf("%d links, no foreign Secrets", links))
	if withForeign > without+foreign*foreignBytes>>10/10 {
		t.Errorf("%d KiB with foreign Secrets and %d without: they seem to be cached", withForeign, without)
	}
}

type world struct {
	testing.TB
	client.Client
	sim        *plextest.Simulator
	alice      *plextest.Account
	kubeconfig string
}

// start starts etcd, kube-apiserver and the simulator.
func start(t *testing.T) *world {
	environment := &envtest.Environment{
		BinaryAssetsDirectory: "../../bin/k8s",
		CRDDirectoryPaths:     []string{"../../config/crd/bases"}, ErrorIfCRDPathMissing: true,
		ControlPlaneStartTimeout: 2 * time.Minute, ControlPlaneStopTimeout: time.Minute,
	}
	environment.ControlPlane.GetAPIServer().Configure().Append("disable-admission-plugins", "ServiceAccount")
	config, err := environment.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := environment.Stop(); err != nil {
			t.Error(err)
		}
	})
	config.QPS = -1
	scheme := runtime.NewScheme()
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err := errors.Join(err, clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	sim := plextest.New(plextest.Options{})
	t.Cleanup(sim.Close)
	w := &world{TB: t, Client: c, sim: sim, alice: sim.AddAccount("alice"), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	sim.AddServer(plextest.Server{Name: "My Plex Server", Owner: w.alice})
	if err := os.WriteFile(w.kubeconfig, environment.KubeConfig, 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

// manager starts the manager and returns its process when it works.
func (w *world) manager() *exec.Cmd {
	w.Helper()
	cmd := exec.Command("../../bin/manager", "--plex-url="+w.sim.URL, "--plex-qps=50",
		"--deny-server-cidrs=169.254.0.0/16", "--metrics-bind-address=127.0.0.1:0", "--health-probe-bind-address=127.0.0.1:0")
	cmd.Env = []string{"KUBECONFIG=" + w.kubeconfig}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := cmd.StderrPipe()
	if err != nil {
		w.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "Starting workers") {
			go func() {
				for lines.Scan() {
				}
			}()
			return cmd
		}
	}
	w.Fatalf("the manager does not start: %v", cmd.Wait())
	return nil
}

func (w *world) stop(manager *exec.Cmd) {
	w.Helper()
	_ = manager.Process.Signal(syscall.SIGTERM)
	if err := manager.Wait(); err != nil {
		w.Errorf("the manager ended: %v", err)
	}
}

// measure starts a manager, lets it settle, and prints what it needs. It returns its resident memory in KiB.
func (w *world) measure(what string) int {
	w.Helper()
	manager := w.manager()
	defer w.stop(manager)
	pid := manager.Process.Pid
	<-time.After(settle)
	before := cpu(w, pid)
	<-time.After(idle)
	used := cpu(w, pid) - before
	resident := memory(w, pid, "VmRSS")
	w.Logf("%-50s  resident %3d MiB (peak %3d MiB), CPU %4.1f m", what,
		resident>>10, memory(w, pid, "VmHWM")>>10, 1000*used.Seconds()/idle.Seconds())
	return resident
}

// memory reads a value of /proc/PID/status, in KiB.
func memory(t testing.TB, pid int, field string) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), field+":")
	value, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// cpu is the time that a process has used, in the kernel's ticks of 10 ms.
func cpu(t testing.TB, pid int) time.Duration {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	fields := strings.Fields(rest) // from the third on, see proc(5)
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

func (w *world) addForeignSecrets() {
	w.Helper()
	for i := range foreign {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("foreign-%d", i)},
			Data:       map[string][]byte{"data": make([]byte, foreignBytes)},
		}
		if err := w.Create(w.Context(), secret); err != nil {
			w.Fatal(err)
		}
	}
}

func (w *world) removeForeignSecrets() {
	w.Helper()
	for i := range foreign {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("foreign-%d", i)}}
		if err := w.Delete(w.Context(), secret); err != nil {
			w.Fatal(err)
		}
	}
}

// link makes all links, and enters their PINs as they come.
func (w *world) link() {
	w.Helper()
	manager := w.manager()
	defer w.stop(manager)
	for i := range links {
		link := &v1alpha1.PlexLink{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("link-%d", i)}}
		if err := w.Create(w.Context(), link); err != nil {
			w.Fatal(err)
		}
	}
	began := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for ; ; <-tick.C {
		for _, pin := range w.sim.PINs() {
			if pin.ClaimedAt.IsZero() {
				_ = w.sim.Link(pin.Code, w.alice) // fails when it has expired; another follows
			}
		}
		var all v1alpha1.PlexLinkList
		if err := w.List(w.Context(), &all); err != nil {
			w.Fatal(err)
		}
		linked := 0
		for _, link := range all.Items {
			if meta.IsStatusConditionTrue(link.Status.Conditions, v1alpha1.ConditionReady) {
				linked++
			}
		}
		if linked == links {
			break
		}
		if time.Since(began) > patience {
			w.Fatalf("%d of %d are linked after %s", linked, links, patience)
		}
	}
	w.Logf("linked %d in %s, resident %d MiB at most", links, time.Since(began).Round(time.Second), memory(w, manager.Process.Pid, "VmHWM")>>10)
}

//go:build footprint

package footprint

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"plexlink.dev/operator/internal/plex/plextest"
)

// manager is a running manager.
type manager struct {
	*world
	cmd *exec.Cmd
}

// usage is the memory of a process, in KiB, and the requests it made while it was idle.
type usage struct{ resident, peak, toPlexTV, toServers int }

// memoryLimit returns the memory limit of the chart, in bytes: GOMEMLIMIT in the cluster.
func memoryLimit() (string, error) {
	text, err := os.ReadFile("../../charts/plexlink/values.yaml")
	if err != nil {
		return "", err
	}
	var values struct {
		Resources struct {
			Limits struct{ Memory resource.Quantity }
		}
	}
	if err := yaml.Unmarshal(text, &values); err != nil {
		return "", err
	}
	return strconv.FormatInt(values.Resources.Limits.Memory.Value(), 10), nil
}

// manager starts the released manager with the memory limit of the chart, and returns once its workers run.
func (w *world) manager(flags ...string) *manager {
	w.Helper()
	limit, err := memoryLimit()
	if err != nil {
		w.Fatal(err)
	}
	cmd := exec.Command("../../bin/image/"+runtime.GOARCH+"/manager", append([]string{
		"--plex-url=" + w.sim.URL, "--deny-server-cidrs=169.254.0.0/16",
		"--metrics-bind-address=127.0.0.1:0", "--health-probe-bind-address=127.0.0.1:0",
	}, flags...)...)
	cmd.Env = []string{"KUBECONFIG=" + w.kubeconfig, "GOMEMLIMIT=" + limit}
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
			return &manager{w, cmd}
		}
	}
	w.Fatalf("manager exited before it started its workers: %v", cmd.Wait())
	return nil
}

func (m *manager) stop() {
	m.Helper()
	_ = m.cmd.Process.Signal(syscall.SIGTERM)
	if err := m.cmd.Wait(); err != nil {
		m.Errorf("manager exited with an error: %v", err)
	}
}

// report prints and returns the memory of the manager.
func (m *manager) report(what string) usage {
	m.Helper()
	u := usage{resident: m.memory("VmRSS"), peak: m.memory("VmHWM")}
	m.Logf("%-70s  resident %3d MiB (peak %3d MiB)", what, u.resident/mib, u.peak/mib)
	return u
}

// measure starts a manager, lets it settle, and prints its memory and CPU.
func (w *world) measure(what string) usage {
	w.Helper()
	m := w.manager()
	defer m.stop()
	<-time.After(*settle)
	before := m.cpu()
	w.sim.ResetRequests()
	<-time.After(*idle)
	used := m.cpu() - before
	got := m.report(fmt.Sprintf("%s, CPU %.1f m", what, 1000*used.Seconds()/idle.Seconds()))
	got.toServers = w.sim.Count(plextest.Identity)
	got.toPlexTV = len(w.sim.Requests()) - got.toServers
	return got
}

// memory reads a value of /proc/PID/status, in KiB.
func (m *manager) memory(field string) int {
	m.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.cmd.Process.Pid))
	if err != nil {
		m.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), field+":")
	value, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		m.Fatal(err)
	}
	return value
}

// cpu returns the CPU time of the process, in the kernel's ticks of 10 ms.
func (m *manager) cpu() time.Duration {
	m.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.cmd.Process.Pid))
	if err != nil {
		m.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	fields := strings.Fields(rest) // from the third on, see proc(5)
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err := errors.Join(err1, err2); err != nil {
		m.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/hinshun/vt10x"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// asPlugin is the variable that makes the test binary the plugin, so that the race detector sees it too.
const asPlugin = "PLEXLINK_TEST_AS_PLUGIN"

func TestMain(m *testing.M) {
	if os.Getenv(asPlugin) != "" {
		main()
	}
	os.Exit(m.Run())
}

// world is an API server, a simulated plex.tv with alice and her server, a manager, and an editor of the namespace media.
type world struct {
	*testing.T
	admin      client.Client
	sim        *plextest.Simulator
	alice      *plextest.Account
	kubeconfig string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	assets, err := filepath.Abs("../../bin/k8s")
	if err != nil {
		t.Fatal(err)
	}
	environment := &envtest.Environment{
		BinaryAssetsDirectory: assets, CRDDirectoryPaths: []string{"../../config/crd/bases"}, ErrorIfCRDPathMissing: true,
	}
	environment.ControlPlane.GetAPIServer().Configure().Append("disable-admission-plugins", "ServiceAccount")
	t.Cleanup(func() {
		if err := environment.Stop(); err != nil {
			t.Error(err)
		}
	})
	config, err := environment.Start()
	if err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	w := &world{T: t, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig"), sim: plextest.New(plextest.Options{})}
	t.Cleanup(w.sim.Close)
	w.alice = w.sim.AddAccount("alice")
	w.sim.AddServer(plextest.Server{Name: "My Plex Server", Owner: w.alice})
	if w.admin, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	editor, err := environment.AddUser(envtest.User{Name: "editor"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := editor.KubeConfig()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.kubeconfig, text, 0o600); err != nil {
		t.Fatal(err)
	}
	w.grant()
	w.startManager(environment.KubeConfig)
	return w
}

// grant gives the editor exactly the rights of plexlink-editor-role, and to list Pods, in the namespace media.
func (w *world) grant() {
	w.Helper()
	text, err := os.ReadFile("../../config/rbac/plexlink_editor_role.yaml")
	if err != nil {
		w.Fatal(err)
	}
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(text, &role); err != nil {
		w.Fatal(err)
	}
	pods := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "pods"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}}},
	}
	objects := []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "media"}}, &role, pods}
	for _, name := range []string{role.Name, pods.Name} {
		objects = append(objects, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "media"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: "editor"}},
		})
	}
	for _, object := range objects {
		if err := w.admin.Create(w.Context(), object); err != nil {
			w.Fatal(err)
		}
	}
}

// startManager builds and starts the manager as the administrator.
func (w *world) startManager(kubeconfig []byte) {
	w.Helper()
	dir := w.TempDir()
	binary, file := filepath.Join(dir, "manager"), filepath.Join(dir, "kubeconfig")
	if out, err := exec.CommandContext(w.Context(), "go", "build", "-o", binary, "../manager").CombinedOutput(); err != nil {
		w.Fatalf("build the manager: %v\n%s", err, out)
	}
	if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
		w.Fatal(err)
	}
	manager := exec.CommandContext(w.Context(), binary, "--watch-namespaces=media", "--plex-url="+w.sim.URL,
		"--deny-server-cidrs=169.254.0.0/16", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	manager.Env = []string{"HOME=" + dir, "KUBECONFIG=" + file}
	if err := manager.Start(); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		_ = manager.Process.Kill()
		_ = manager.Wait() // The error is that it was killed.
	})
}

// plugin is the command line of the plugin, as the editor.
func (w *world) plugin(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(w.Context(), os.Args[0], append([]string{"--kubeconfig", w.kubeconfig, "-n", "media"}, args...)...)
	cmd.Env = []string{asPlugin + "=1", "TERM=xterm-256color", "HOME=" + w.TempDir()}
	return cmd
}

// runs runs the plugin, and compares the exit code and what it prints with what is wanted.
func (w *world) runs(wantCode int, wantText string, args ...string) {
	w.Helper()
	out, err := w.plugin(args...).CombinedOutput()
	if code := exitOf(w, err); code != wantCode || !strings.Contains(string(out), wantText) {
		w.Errorf("kubectl plexlink %q exits with %d, want %d, and prints, without %q:\n%s", args, code, wantCode, wantText, out)
	}
}

func exitOf(w *world, err error) int {
	w.Helper()
	exit := &exec.ExitError{}
	if err != nil && !errors.As(err, &exit) {
		w.Fatal(err)
	}
	if err == nil {
		return 0
	}
	return exit.ExitCode()
}

// session is the plugin in a terminal of 80×24.
type session struct {
	*world
	cmd      *exec.Cmd
	keyboard *os.File
	terminal vt10x.Terminal
}

func (w *world) start(args ...string) *session {
	w.Helper()
	s := &session{world: w, cmd: w.plugin(args...), terminal: vt10x.New(vt10x.WithSize(80, 24))}
	var err error
	if s.keyboard, err = pty.StartWithSize(s.cmd, &pty.Winsize{Cols: 80, Rows: 24}); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = s.keyboard.Close() })
	go func() {
		for screen := bufio.NewReader(s.keyboard); s.terminal.Parse(screen) == nil; {
		}
	}()
	return s
}

// shows waits until the screen has the text.
func (s *session) shows(text string) {
	s.Helper()
	s.eventually(text, func() bool { return strings.Contains(s.terminal.String(), text) })
}

// eventually waits until the screen is as wanted. It is drawn in pieces.
func (s *session) eventually(what string, wanted func() bool) {
	s.Helper()
	for deadline := time.Now().Add(30 * time.Second); !wanted(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("did not happen: %s; the screen:\n%s", what, s.terminal)
		}
	}
}

// ends waits for the end and compares the exit code.
func (s *session) ends(want int) {
	s.Helper()
	if got := exitOf(s.world, s.cmd.Wait()); got != want {
		s.Errorf("exit code = %d, want %d; screen:\n%s", got, want, s.terminal)
	}
}

// pin waits for a PIN of the link, other than the one before.
func (w *world) pin(before string) *v1alpha1.PINStatus {
	w.Helper()
	var link v1alpha1.PlexLink
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := w.admin.Get(w.Context(), client.ObjectKey{Namespace: "media", Name: "kometa"}, &link)
		if pin := link.Status.PIN; err == nil && pin != nil && pin.Code != before {
			return pin
		}
		if time.Now().After(deadline) {
			w.Fatalf("there is no new PIN: %v, %+v", err, link.Status)
		}
	}
}

// pod creates a Pod that reads the Secret kometa, in the state of one that waits for it.
func (w *world) pod() *corev1.Pod {
	w.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "media", Name: "kometa-0"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app", EnvFrom: []corev1.EnvFromSource{
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "kometa"}}},
		}}}},
	}
	if err := w.admin.Create(w.Context(), pod); err != nil {
		w.Fatal(err)
	}
	return pod
}

package install

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/v2/loader"
)

// Artifact Hub shows a chart as signed when its package has a provenance file and names the key. The release workflow signs.
func TestSignedChartNamesItsKeyAndIsVerifiedByHelm(t *testing.T) {
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Skip("gpg is not installed")
	}
	home, out := t.TempDir(), t.TempDir()
	t.Setenv("GNUPGHOME", home)
	t.Cleanup(func() { _ = exec.Command("gpgconf", "--kill", "all").Run() })
	run(t, "gpg", "--batch", "--passphrase", "", "--quick-generate-key", "Charts <charts@example.com>", "ed25519", "sign", "never")
	t.Setenv("CHART_SIGNING_KEY", run(t, "gpg", "--batch", "--armor", "--export-secret-keys"))

	run(t, root("hack", "chart.sh"), out)

	ring := filepath.Join(home, "public.gpg")
	run(t, "gpg", "--batch", "--output", ring, "--dearmor", filepath.Join(out, "chart-signing-key.asc"))
	packages, err := filepath.Glob(filepath.Join(out, "*.tgz"))
	if err != nil || len(packages) != 1 {
		t.Fatalf("got packages %v and error %v, want one package", packages, err)
	}
	run(t, root("bin", "helm"), "verify", packages[0], "--keyring", ring)

	chart, err := loader.Load(packages[0])
	if err != nil {
		t.Fatal("load the package:", err)
	}
	_, records, _ := strings.Cut(run(t, "gpg", "--batch", "--with-colons", "--list-keys"), "\nfpr:")
	fingerprint, _, _ := strings.Cut(strings.TrimLeft(records, ":"), ":")
	if got := chart.Metadata.Annotations["artifacthub.io/signKey"]; fingerprint == "" || !strings.Contains(got, "fingerprint: "+fingerprint+"\n") {
		t.Errorf("got the annotation signKey %q, want the fingerprint %s", got, fingerprint)
	}
}

// run returns what a command prints.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	command := exec.Command(name, args...)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return string(out)
}

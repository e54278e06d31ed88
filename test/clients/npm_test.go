package clients

import (
	"errors"
	"os"
	"os/exec"
	"testing"
)

// TestNpm runs the tests in npm, of clients in JavaScript and of plexsim's pages in a browser. `make test-clients`
// installs what they need.
func TestNpm(t *testing.T) {
	for _, file := range []string{"clients.test.js", "pages.test.js"} {
		t.Run(file, func(t *testing.T) {
			_, noNode := exec.LookPath("node")
			_, notInstalled := os.Stat("npm/node_modules")
			chromium, noBrowser := exec.LookPath("chromium")
			if file != "pages.test.js" {
				noBrowser = nil
			}
			need(t, noNode, notInstalled, noBrowser)
			node := exec.CommandContext(t.Context(), "node", "--import", "./network.js", "--test", "--test-reporter", "spec", file)
			node.Dir = "npm"
			node.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+os.Getenv("SSL_CERT_FILE"), "PLEXSIM="+simulated["plex.tv"],
				"OWNED_SERVER="+simulated[ownedServer], "CHROMIUM="+chromium)
			out, err := node.CombinedOutput()
			if err != nil || testing.Verbose() {
				t.Logf("%s", out)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// need skips the test if something is missing, but not in CI, which installs it as root.
func need(t *testing.T, missing ...error) {
	t.Helper()
	err := errors.Join(missing...)
	switch {
	case err != nil && os.Getenv("CI") != "" && os.Getuid() == 0:
		t.Fatal(err)
	case err != nil:
		t.Skip(err)
	}
}

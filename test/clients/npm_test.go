package clients

import (
	"os"
	"os/exec"
	"testing"
)

// TestNpm runs the tests in npm, of clients in JavaScript and of plexsim's pages in a browser. `make test-clients`
// installs what they need.
func TestNpm(t *testing.T) {
	for _, file := range []string{"clients.test.js", "pages.test.js"} {
		t.Run(file, func(t *testing.T) {
			need(t, "npm/node_modules/.package-lock.json")
			if file == "pages.test.js" {
				need(t, chromium)
			}
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

const chromium = "/usr/bin/chromium" // Debian's

// need skips the test if the file is missing, but not in CI, which installs it as root.
func need(t *testing.T, file string) {
	t.Helper()
	if _, err := os.Stat(file); err == nil {
		return
	}
	if os.Getenv("CI") != "" && os.Getuid() == 0 {
		t.Fatalf("%s is missing", file)
	}
	t.Skipf("%s is missing", file)
}

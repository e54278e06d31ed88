// Package clients runs clients that were not written for PlexLink against plexsim, the simulator as a process. They are used
// as released: only the network is simulated, so that plex.tv and the names of media servers lead to plexsim.
package clients

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The world: alice owns a server, bob shares one with her, and a player of hers is in the list.
const (
	world = `
servers:
- {name: My Plex Server, owner: alice}
- {name: "Bob's", owner: bob, sharedWith: [alice]}
`
	ownedServer  = "My Plex Server"
	sharedServer = "Bob's"
)

// simulated holds the base URLs of what runs: "plex.tv" and the servers by name, over http.
var simulated = map[string]string{}

func TestMain(m *testing.M) {
	code, err := runWithPlexsim(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runWithPlexsim(m *testing.M) (code int, err error) {
	folder, err := os.MkdirTemp("", "clients")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(folder)
	program, config, authority := filepath.Join(folder, "plexsim"), filepath.Join(folder, "world.yaml"), filepath.Join(folder, "ca.pem")
	build := exec.Command("go", "build", "-o", program, "./hack/plexsim")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build plexsim: %w\n%s", err, out)
	}
	if err := os.WriteFile(config, []byte(world), 0o600); err != nil {
		return 0, err
	}
	plexsim := exec.Command(program, "--config", config, "--account", "alice", "--account", "bob", "--ca-file", authority)
	out, err := plexsim.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := plexsim.Start(); err != nil {
		return 0, err
	}
	defer func() {
		_ = plexsim.Process.Signal(os.Interrupt)
		_ = plexsim.Wait()
	}()
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "ready"; {
		kind, rest, _ := strings.Cut(lines.Text(), " ")
		address, name, _ := strings.Cut(strings.TrimSpace(rest), "  ")
		if kind == "server" {
			kind = name
		}
		simulated[kind] = address
	}
	if err := order(`{"ghostDevices": {"alice": 1}}`); err != nil {
		return 0, err
	}
	// crypto/x509 reads it once, before the first certificate is verified.
	if err := os.Setenv("SSL_CERT_FILE", authority); err != nil {
		return 0, err
	}
	http.DefaultTransport.(*http.Transport).DialContext = dial
	return m.Run(), nil
}

// dial simulates DNS: plex.tv is plexsim, and the names of media servers, 127-0-0-1.HASH.plex.direct.test, are loopback.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	switch {
	case err != nil:
		return nil, err
	case host == "plex.tv", host == "clients.plex.tv":
		address = strings.TrimPrefix(simulated["plex.tv"], "http://")
	case strings.HasSuffix(host, ".plex.direct.test"):
		address = net.JoinHostPort("127.0.0.1", port)
	case !net.ParseIP(host).IsLoopback():
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// order sends an order to plexsim's control endpoint.
func order(body string) error {
	response, err := http.Post(simulated["plex.tv"]+"/_control/faults", "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusNoContent {
		return fmt.Errorf("order %s: %s %s %w", body, response.Status, text, err)
	}
	return nil
}

// enter enters a PIN at the link page as alice.
func enter(t *testing.T, pin string) {
	t.Helper()
	response, err := http.PostForm(simulated["plex.tv"]+"/link", url.Values{"account": {"alice"}, "pin": {pin}})
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("the link page: got %s, want 200", response.Status)
	}
}

// overBoth runs a test with the http and the https address of a server.
func overBoth(t *testing.T, httpURL string, test func(t *testing.T, base string)) {
	t.Helper()
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) { test(t, strings.Replace(httpURL, "http:", scheme+":", 1)) })
	}
}

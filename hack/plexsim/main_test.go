package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// buffer is written by the program and read by the test.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// serve starts plexsim and returns its URLs by the first word of their lines, servers by name.
func serve(t *testing.T, args ...string) (urls map[string]string, logs *buffer) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan error)
	logs = &buffer{}
	go func() {
		err := run(ctx, args, in, logs)
		in.CloseWithError(io.EOF)
		done <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	urls = map[string]string{}
	for line := ""; line != "ready"; {
		raw := []byte{0}
		for line = ""; raw[0] != '\n'; {
			if _, err := out.Read(raw); err != nil {
				t.Fatal(err)
			}
			line += strings.TrimSuffix(string(raw), "\n")
		}
		kind, rest, _ := strings.Cut(line, " ")
		address, name, _ := strings.Cut(strings.TrimSpace(rest), "  ")
		if name != "" {
			kind = name
		}
		urls[kind] = address
	}
	return urls, logs
}

func ask(t *testing.T, method, target, token string, body any) {
	t.Helper()
	r, _ := http.NewRequest(method, target, nil)
	r.Header = http.Header{
		"Accept": {"application/json"}, "X-Plex-Client-Identifier": {"my-unique-app-id"}, "X-Plex-Token": {token}, "X-Plex-Product": {"PlexLink"},
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		t.Fatalf("%s: %s", method, response.Status)
	}
	if err := json.NewDecoder(response.Body).Decode(body); err != nil {
		t.Fatal(err)
	}
}

func TestTheFlowLeavesNoSecretInTheLog(t *testing.T) {
	t.Parallel()
	urls, logs := serve(t)
	var pin struct {
		ID        int
		Code      string
		AuthToken string
	}
	ask(t, "POST", urls["plex.tv"]+"/api/v2/pins", "", &pin)
	response, err := http.PostForm(urls["link"], url.Values{"account": {"alice"}, "pin": {pin.Code}})
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response, err)
	}
	response.Body.Close()
	ask(t, "GET", fmt.Sprint(urls["plex.tv"], "/api/v2/pins/", pin.ID), "", &pin)
	var ignored any
	ask(t, "GET", urls["My Plex Server"]+"/library/sections", pin.AuthToken, &ignored)

	log := logs.String()
	for _, line := range []string{
		"plex.tv  POST /pins  201", "plex.tv  GET /pins/{id}  200",
		`My Plex Server  GET /library/sections  200  account="alice" product="PlexLink"`,
	} {
		if !strings.Contains(log, line) {
			t.Errorf("%q is missing in the log:\n%s", line, log)
		}
	}
	for _, secret := range []string{fmt.Sprint(pin.ID), pin.AuthToken, "my-unique-app-id"} {
		if strings.Contains(log, secret) {
			t.Errorf("a secret is in the log:\n%s", log)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "sim.yaml")
	// The file of the usage text, but for its port, which may be taken.
	_, example, _ := strings.Cut(usage, "without owner are strangers.\n")
	example, _, _ = strings.Cut(example, "Flags:")
	example = strings.Replace(example, "127.0.0.1:32400", "127.0.0.1:0", 1)
	if err := os.WriteFile(file, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	urls, _ := serve(t, "--account", "carol", "--config", file)
	var pin struct {
		ID        int
		Code      string
		AuthToken string
	}
	ask(t, "POST", urls["plex.tv"]+"/api/v2/pins", "", &pin)
	if response, err := http.PostForm(urls["link"], url.Values{"account": {"bob"}, "pin": {pin.Code}}); err != nil || response.StatusCode != 200 {
		t.Fatal(response, err)
	}
	ask(t, "GET", fmt.Sprint(urls["plex.tv"], "/api/v2/pins/", pin.ID), "", &pin)
	var resources []struct {
		Name        string
		SourceTitle string
		Connections []struct {
			URI     string
			Address string
			Port    int
			Local   bool
			Relay   bool
		}
	}
	ask(t, "GET", urls["plex.tv"]+"/api/v2/resources?includeRelay=1", pin.AuthToken, &resources)
	if len(resources) != 1 || resources[0].Name != "My Plex Server" || resources[0].SourceTitle != "alice" {
		t.Fatalf("resources: %+v", resources)
	}
	own := strings.TrimSuffix(urls["My Plex Server"], "/plex")
	got := fmt.Sprintf("%+v", resources[0].Connections)
	for _, want := range []string{
		"URI:http://172.17.0.1:32400 Address:172.17.0.1 Port:32400 Local:true",
		"URI:" + urls["Stranger"] + " ", "URI:" + own + " ",
		"URI:https://plex.example.com Address:203.0.113.7 Port:443 Local:false Relay:false",
		"URI:https://198.51.100.1:8443 Address:198.51.100.1 Port:8443 Local:false Relay:true",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in %s", want, got)
		}
	}
}

func TestHTTPS(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ca.pem")
	urls, _ := serve(t, "--ca-file", file)
	authority, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	plain, _ := serve(t, "--https=false")
	for name, test := range map[string]struct {
		urls   map[string]string
		client *tls.Config
		want   bool
	}{
		"by default":        {urls, &tls.Config{RootCAs: pool}, true},
		"without --ca-file": {urls, nil, false},
		"turned off":        {plain, &tls.Config{InsecureSkipVerify: true}, false},
	} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: test.client, DisableKeepAlives: true}}
		for address, path := range map[string]string{"plex.tv": "/link", "My Plex Server": "/identity"} {
			response, err := client.Get(strings.Replace(test.urls[address], "http:", "https:", 1) + path)
			if (err == nil) != test.want {
				t.Errorf("%s at %s: got %v, want https: %t", name, address, err, test.want)
			}
			if err == nil {
				response.Body.Close()
			}
		}
	}
}

func TestMistakesAreExplained(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args []string
		file string
		want string
	}{
		"unknown flag":       {[]string{"--port", "1"}, "", "not defined: -port"},
		"server, no owner":   {[]string{"--server", "My Plex Server"}, "", "want NAME=OWNER"},
		"unquoted name":      {[]string{"--account", "al", "ice"}, "", `unexpected argument "ice"`},
		"no such file":       {[]string{"--config", "none.yaml"}, "", "none.yaml: no such file"},
		"no folder":          {[]string{"--ca-file", "none/ca.pem"}, "", "write --ca-file: open none/ca.pem"},
		"bad address":        {[]string{"--addr", "127.0.0.1:99999"}, "", "choose another address"},
		"unknown field":      {nil, "acounts: [a]", `unknown field "acounts"`},
		"unknown account":    {nil, "servers: [{name: x, owner: b}]", `there is no account "b"`},
		"server, no name":    {nil, "servers: [{version: '1'}]", "server 1: set its name"},
		"unknown server":     {nil, "servers: [{name: x, connections: [{uri: 'http://{y}'}]}]", `connection uri "http://{y}"`},
		"uri without scheme": {nil, "servers: [{name: x, connections: [{uri: '10.0.0.1:32400'}]}]", `connection uri "10.0.0.1:32400"`},
		"bad path prefix":    {nil, "servers: [{name: x, pathPrefix: plex}]", "want a path such as /plex"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.file != "" {
				file := filepath.Join(t.TempDir(), "sim.yaml")
				if err := os.WriteFile(file, []byte(test.file), 0o600); err != nil {
					t.Fatal(err)
				}
				test.args = append(test.args, "--config", file)
			}
			err := run(t.Context(), test.args, io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

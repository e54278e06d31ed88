package plextest_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestLinkPage(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		account, pin string // PIN stands for the code that was minted, STRONG for a strong one
		status       int
		want         string
		linked       bool
	}{
		"accepted":       {"alice", "PIN", 200, `role="status">Accepted. <strong>The device</strong> is now linked to <strong>alice`, true},
		"mistyped":       {"alice", "0000", 422, `role="alert"`, false},
		"strong":         {"alice", "STRONG", 422, `role="alert"`, false},
		"no account":     {"", "PIN", 422, "Choose the account", false},
		"nothing":        {"alice", " ", 422, "Enter the PIN", false},
		"markup, quoted": {"alice", `"><b>`, 422, `value="&#34;&gt;&lt;b&gt;"`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, _, _ := start(t)
			d := device{clientIdentifier: "one"}
			p, strong := d.mint(t, sim, ""), d.mint(t, sim, "?strong=true")
			pin := strings.NewReplacer("PIN", p.Code, "STRONG", strong.Code).Replace(test.pin)
			response, err := http.PostForm(sim.URL+"/link", url.Values{"account": {test.account}, "pin": {pin}})
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, _ := io.ReadAll(response.Body)
			if response.StatusCode != test.status || !strings.Contains(string(body), test.want) {
				t.Errorf("got %d %s", response.StatusCode, body)
			}
			if linked := sim.PINs()[0].Token != ""; linked != test.linked {
				t.Errorf("linked: %v", linked)
			}
		})
	}
}

func TestLinkPageIsFilledIn(t *testing.T) {
	t.Parallel()
	sim, _, _ := start(t)
	for _, path := range []string{"/link?pin=ABCD", "/link/?pin=ABCD"} {
		status, body := device{}.do(t, "GET", sim.URL+path)
		if status != 200 || !strings.Contains(body, `value="ABCD"`) || !strings.Contains(body, "<option>alice</option>") {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

package stories

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plexlink.dev/operator/api/v1alpha1"
)

// causesOf returns the API server's complaints, each with its field.
func causesOf(err error) []metav1.StatusCause {
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	return status.Status().Details.Causes
}

// checkEveryRuleIsBroken checks that each validation rule of the CRD caused a rejection, with its message at its field.
func checkEveryRuleIsBroken(t *testing.T, refused []metav1.StatusCause) {
	t.Helper()
	rules := 0
	readCRD(t).walk("", func(path string, s crdSchema) {
		if path == "" {
			path = "<nil>" // The API server's name for the object itself.
		}
		for _, rule := range s.Validations {
			rules++
			broken := false
			for _, cause := range refused {
				broken = broken || cause.Field == path && strings.Contains(cause.Message, rule.Message)
			}
			if !broken || rule.Message == "" {
				t.Errorf("no invalid PlexLink breaks the rule of %s with the message %q: add one", path, rule.Message)
			}
		}
	})
	if rules < 20 {
		t.Errorf("got %d rules in the CRD, want all of them", rules)
	}
}

func TestBadStatusIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create("kometa")
	servers := func(identifiers ...string) string {
		var choices []v1alpha1.ServerChoice
		for _, id := range identifiers {
			choices = append(choices, v1alpha1.ServerChoice{Name: "Attic", MachineIdentifier: id})
		}
		text, err := json.Marshal(map[string]any{"servers": choices})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var many []string
	for i := range 101 {
		many = append(many, fmt.Sprint("server-", i))
	}
	for status, want := range map[string]string{
		servers(many...):                   "must have at most 100 items",
		servers("a", "b", "a"):             "Duplicate value",
		`{"servers": [{"name": "Attic"}]}`: "status.servers[0].machineIdentifier: Required value",
		`{"server": {"location": "Moon"}}`: `supported values: "Cluster", "Local", "Remote", "Relay"`,
		`{"lastHandledLinkRequest": "` + strings.Repeat("x", 257) + `"}`:    "may not be more than 256 bytes",
		`{"lastHandledRefreshRequest": "` + strings.Repeat("x", 257) + `"}`: "may not be more than 256 bytes",
		`{"pin": {"code": "ABCD"}}`:                                         "status.pin.expirationTime: Required value",
	} {
		if err := w.editStatus("kometa", status); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.100s: got %v, want %q", status, err, want)
		}
	}
	for _, status := range []string{servers(many[:100]...), servers("a", "b"), `{"lastHandledLinkRequest": "` + strings.Repeat("ü", 256) + `"}`} {
		if err := w.editStatus("kometa", status); err != nil {
			t.Errorf("%.100s: got %v, want it accepted", status, err)
		}
	}
}

package plextest

import (
	"net/http"
	"strings"
	"testing"
)

func TestServerInAnotherProcessReportsItsAddresses(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	t.Cleanup(s.Close)
	m := s.AddServer(Server{Name: "Home", Owner: s.AddAccount("alice"), MachineIdentifier: "home"})
	report := func(machineIdentifier, body string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut,
			s.URL+"/_control/servers/"+machineIdentifier+"/addresses", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	for _, row := range []struct {
		machineIdentifier, body string
		want                    int
	}{
		{"home", `["10.244.0.7:32400", "[fd00::7]:32400"]`, http.StatusNoContent},
		{"home", `["10.244.0.9"]`, http.StatusBadRequest},
		{"home", `{"address": "10.244.0.9:32400"}`, http.StatusBadRequest},
		{"other", `["10.244.0.9:32400"]`, http.StatusNotFound},
	} {
		if got := report(row.machineIdentifier, row.body); got != row.want {
			t.Errorf("%s reports %s: status %d, want %d", row.machineIdentifier, row.body, got, row.want)
		}
	}
	var got []string
	for _, c := range m.state().Connections {
		got = append(got, c.URI)
	}
	if want := "http://10.244.0.7:32400 http://[fd00::7]:32400"; strings.Join(got, " ") != want {
		t.Errorf("advertised: %v, want %s", got, want)
	}
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests on record, want none: a report is not a client's request", n)
	}
}

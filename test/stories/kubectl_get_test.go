package stories

import (
	"slices"
	"strings"
	"testing"
	"time"

	"plexlink.dev/operator/api/v1alpha1"
)

// columns returns the cells of a PlexLink in the output of kubectl get, by the name of the column, and these names in order.
// kubectl separates columns by three spaces.
func columns(t *testing.T, table, name string) (cells map[string]string, names []string) {
	t.Helper()
	lines := strings.Split(strings.TrimRight(table, "\n"), "\n")
	names = strings.Fields(lines[0])
	for _, line := range lines[1:] {
		if !strings.HasPrefix(line, name+" ") {
			continue
		}
		cells = map[string]string{}
		for i, column := range names {
			at, end := strings.Index(lines[0], column), len(line)
			if i+1 < len(names) {
				end = strings.Index(lines[0], names[i+1])
			}
			cells[column] = strings.TrimSpace(line[min(at, len(line)):min(end, len(line))])
		}
		return cells, names
	}
	t.Fatalf("got no line for %s in\n%s", name, table)
	return nil, nil
}

func TestKubectlGetShowsWhatAPersonNeeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.create("waiting")
	pin := w.awaitsPIN("waiting").Status.PIN
	short := []string{"NAME", "READY", "STATUS", "PIN", "SERVER", "SECRET", "AGE"}
	wide := append(slices.Clone(short), "URL", "LOCATION", "ACCOUNT", "PIN-EXPIRES")
	for _, kind := range []string{"plexlink", "plx", "plex"} {
		for name, want := range map[string]map[string]string{
			"kometa": {
				"READY": "True", "STATUS": v1alpha1.ReasonLinked, "PIN": "", "SERVER": "My Plex Server", "SECRET": "kometa",
				"URL": w.server.URL, "LOCATION": "Local", "ACCOUNT": "alice", "PIN-EXPIRES": "",
			},
			"waiting": {
				"READY": "False", "STATUS": v1alpha1.ReasonAwaitingLink, "PIN": pin.Code, "SERVER": "", "SECRET": "",
				"URL": "", "LOCATION": "", "ACCOUNT": "", "PIN-EXPIRES": pin.ExpirationTime.UTC().Format(time.RFC3339),
			},
		} {
			if _, got := columns(t, w.kubectl("get", kind), name); !slices.Equal(got, short) {
				t.Errorf("kubectl get %s: got the columns %q, want %q", kind, got, short)
			}
			cells, got := columns(t, w.kubectl("get", kind, "-o", "wide"), name)
			if !slices.Equal(got, wide) {
				t.Errorf("kubectl get %s -o wide: got the columns %q, want %q", kind, got, wide)
			}
			for column, value := range want {
				if cells[column] != value {
					t.Errorf("kubectl get %s: got %s %q for %s, want %q", kind, column, cells[column], name, value)
				}
			}
			if cells["AGE"] == "" {
				t.Errorf("kubectl get %s: got no age for %s", kind, name)
			}
		}
	}
}

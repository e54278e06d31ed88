package stories

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
)

// statusTimes holds, for each time in the status, a patch that sets it.
var statusTimes = map[string]string{
	"status.conditions[].lastTransitionTime": `{"conditions":[{"type":"Ready","status":"True","reason":"Linked","message":"x","lastTransitionTime":%q}]}`,
	"status.pin.expirationTime":              `{"pin":{"code":"ABCD","linkURL":"https://plex.tv/link","expirationTime":%q}}`,
	"status.lastRefreshTime":                 `{"lastRefreshTime":%q}`,
	"status.queuedTime":                      `{"queuedTime":%q}`,
}

// editStatus patches the status of a PlexLink, as `kubectl edit --subresource=status` does.
func (w *world) editStatus(name, status string) error {
	link := &v1alpha1.PlexLink{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace}}
	return admin.Status().Patch(w.Context(), link, client.RawPatch(types.MergePatchType, []byte(`{"status":`+status+`}`)))
}

// Fault A19: one time that Go cannot parse stopped the operator for all links of the cluster.
func TestEveryTimeOfTheAPIHasThePattern(t *testing.T) {
	t.Parallel()
	patterns := map[string]bool{}
	var times []string
	readCRD(t).walk("", func(path string, s crdSchema) {
		if s.Format == "date-time" {
			times = append(times, path)
			patterns[s.Pattern] = true
		}
	})
	slices.Sort(times)
	if want := slices.Sorted(maps.Keys(statusTimes)); !slices.Equal(times, want) {
		t.Errorf("got the times %q, want %q: add new ones to statusTimes", times, want)
	}
	if len(patterns) != 1 || patterns[""] {
		t.Fatalf("got the patterns %q, want the same one for every time", slices.Collect(maps.Keys(patterns)))
	}
	pattern := regexp.MustCompile(slices.Collect(maps.Keys(patterns))[0])
	accepted := 0
	for _, form := range formsOfTime() {
		if !pattern.MatchString(form) {
			continue
		}
		accepted++
		var decoded metav1.Time
		if err := json.Unmarshal([]byte(fmt.Sprintf("%q", form)), &decoded); err != nil {
			t.Errorf("%s is accepted, but Go cannot parse it: %v", form, err)
			continue
		}
		again, err := json.Marshal(decoded)
		if err != nil || !pattern.MatchString(strings.Trim(string(again), `"`)) {
			t.Errorf("%s is accepted, but Go writes it as %s, which is rejected (%v)", form, again, err)
		}
	}
	if accepted < 10 {
		t.Errorf("the pattern accepts %d forms, want those of RFC 3339", accepted)
	}
}

// formsOfTime returns many ways to write a valid date and time of day.
func formsOfTime() []string {
	var forms []string
	for _, date := range []string{"2026-01-02", "0000-01-01", "0001-01-01", "1000-01-01", "2999-12-31", "9999-12-31", "12026-01-02", "2026-1-2", "20260102"} {
		for _, separator := range []string{"T", "t", " ", "_", ""} {
			for _, clock := range []string{"03:04:05", "00:00:00", "23:59:59", "3:04:05", "03:04", "030405", "03"} {
				for _, fraction := range []string{"", ".", ".1", ".123456789", ".1234567890", ",1", ";1", "01"} {
					for _, zone := range []string{
						"Z", "z", "", " Z", "+00:00", "-00:00", "+01:00", "-11:30", "+14:00", "+23:59", "-23:59", "+24:00", "+24:60",
						"+25:00", "+99:99", "+01:60", "+0100", "+01", "UTC", "Z\n", "ZT",
					} {
						forms = append(forms, date+separator+clock+fraction+zone)
					}
				}
			}
		}
	}
	return forms
}

func TestTimeThatGoCannotParseIsRefusedInTheStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create("kometa")
	for path, status := range statusTimes {
		for _, form := range []string{
			"2026-01-02t03:04:05Z", "2026-01-02T03:04:05z", "2026-01-02t03:04:05z", "2026-01-02 03:04:05Z", "2026-01-02T03:04:05",
			"2026-01-02T03:04Z", "2026-01-02T03:04:05,123Z", "2026-01-02T03:04:05;1Z", "2026-01-02T03:04:0567Z", "2026-01-02T03:04:05ZT", "2026-01-02",
			"2026-01-02T03:04:05+0100", "2026-01-02T03:04:05+01", "2026-01-02T03:04:05+99:99", "2026-01-02T03:04:05+25:00", "2026-01-02T03:04:05-01:99",
			"2026-01-02T24:00:00Z", "2026-01-02T23:59:60Z", "2026-02-30T03:04:05Z", "0000-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00",
			"0001-01-01T00:00:00Z", "tomorrow", "",
		} {
			if err := w.editStatus("kometa", fmt.Sprintf(status, form)); !apierrors.IsInvalid(err) {
				t.Errorf("%s: %q: got %v, want it rejected as invalid", path, form, err)
			}
		}
	}
	w.startOperator() // It still works.
	w.enterPIN("kometa")
	w.reaches("kometa", v1alpha1.ReasonLinked)
}

func TestOperatorSurvivesTimesThatAreEditedByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperator()
	w.linked("kometa")
	w.settled("kometa")
	for path, status := range statusTimes {
		for _, form := range []string{
			"2026-01-02T03:04:05Z", "2026-01-02T03:04:05.1Z", "2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:05+01:00",
			"2026-01-02T03:04:05-23:59", "1000-01-01T00:00:00Z", "2000-01-01T00:00:00+10:00", "8999-12-31T23:59:59-10:00", "9999-12-31T23:59:59Z",
		} {
			if err := w.editStatus("kometa", fmt.Sprintf(status, form)); err != nil {
				t.Errorf("%s: %q: got %v, want it accepted", path, form, err)
			}
		}
		w.poke() // Status edits trigger no reconcile.
		w.eventually("the repair of "+path, func() error {
			link := w.link("kometa")
			if link.Status.PIN != nil || link.Status.QueuedTime != nil || len(link.Status.Conditions) != 4 {
				return fmt.Errorf("got %+v", link.Status)
			}
			if refreshed := link.Status.LastRefreshTime; refreshed == nil || time.Since(refreshed.Time).Abs() > time.Hour {
				return fmt.Errorf("got the last refresh at %s", refreshed)
			}
			return nil
		})
	}
	w.linked("neighbour") // Other links are not affected.
	w.reaches("kometa", v1alpha1.ReasonLinked)
}

package controller

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
)

func TestRefreshIsSpreadByTenPercentAndTheSameAfterARestart(t *testing.T) {
	t.Parallel()
	link := &v1alpha1.PlexLink{}
	seen := map[time.Duration]bool{}
	for i := range 200 {
		link.UID = types.UID(fmt.Sprint("uid-", i))
		wait := untilRefresh(link, start, start)
		if wait < 54*time.Minute || wait > 66*time.Minute {
			t.Errorf("got a refresh after %s, want 54 to 66 minutes", wait)
		}
		if again := untilRefresh(link, start, start); wait != again {
			t.Errorf("got %s and %s for the same link", wait, again)
		}
		seen[wait] = true
	}
	if len(seen) < 150 {
		t.Errorf("200 links refresh at %d times, want at least 150", len(seen))
	}
	if wait := untilRefresh(link, start.Add(56*time.Hour), start); wait != 0 {
		t.Errorf("got %s after a refresh that lies in the future, want 0", wait)
	}
	if wait := untilRefresh(link, time.Time{}, start); wait != 0 {
		t.Errorf("got %s without a refresh before, want 0", wait)
	}
}

// A record of a friend's server that is never readable must not keep the account's own from being found gone.
func TestServerIsGoneOnlyWhenNoUnreadableRecordMayBeIt(t *testing.T) {
	t.Parallel()
	other := plex.Server{Name: "Other", MachineIdentifier: "other", AccessToken: "t"}
	for name, row := range map[string]struct {
		unreadable []string
		wasGone    bool
		want       string
	}{
		"gone for the first time":                {nil, false, ""},
		"gone for the second time":               {nil, true, "other"},
		"a record of another server":             {[]string{"friend"}, true, "other"},
		"a record of the server itself":          {[]string{"friend", "home"}, true, ""},
		"a record that does not tell its server": {[]string{""}, true, ""},
	} {
		list := plex.Resources{Servers: []plex.Server{other}, Unreadable: row.unreadable}
		got, err := chooseServer(list, v1alpha1.ServerSpec{}, server{Name: "Home", MachineIdentifier: "home"}, row.wasGone)
		if got.MachineIdentifier != row.want || (err != nil) != (row.want == "") {
			t.Errorf("%s: got %q, %v, want %q", name, got.MachineIdentifier, err, row.want)
		}
	}
}

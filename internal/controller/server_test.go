package controller

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"plexlink.dev/operator/api/v1alpha1"
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

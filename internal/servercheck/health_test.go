package servercheck

import (
	"testing"
	"time"

	"plexlink.dev/operator/internal/plex"
)

const (
	hit   = plex.Proven
	miss  = plex.Unreachable
	other = plex.NotThisServer
	none  = plex.NotAwaited
)

func TestServerIsDownAfterTwoMissesOrAnotherMachine(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		verdicts []plex.Verdict // one a minute
		down     bool
		changes  int
	}{
		"not checked":               {nil, false, 0},
		"one miss":                  {[]plex.Verdict{hit, miss}, false, 0},
		"two misses":                {[]plex.Verdict{hit, miss, miss}, true, 1},
		"two misses from the start": {[]plex.Verdict{miss, miss}, true, 1},
		"two misses apart":          {[]plex.Verdict{miss, hit, miss}, false, 0},
		"many misses":               {[]plex.Verdict{miss, miss, miss, miss}, true, 1},
		"another machine":           {[]plex.Verdict{hit, other}, true, 1},
		"another machine, for long": {[]plex.Verdict{other, other, miss, other}, true, 1},
		"nothing learnt in between": {[]plex.Verdict{miss, none, miss}, true, 1},
		"nothing learnt":            {[]plex.Verdict{miss, none, none}, false, 0},
		"nothing learnt while down": {[]plex.Verdict{miss, miss, none}, true, 1},
		"back at the first answer":  {[]plex.Verdict{miss, miss, hit}, false, 2},

		"again soon, four":             {[]plex.Verdict{miss, miss, hit, miss, miss, miss, miss}, false, 2},
		"again soon, five":             {[]plex.Verdict{miss, miss, hit, miss, miss, miss, miss, miss}, true, 3},
		"again soon, five apart":       {[]plex.Verdict{miss, miss, hit, miss, miss, miss, miss, hit, miss}, false, 2},
		"again soon, another machine":  {[]plex.Verdict{other, hit, other, other, other, other}, false, 2},
		"the same, five":               {[]plex.Verdict{other, hit, other, miss, other, other, other}, true, 3},
		"again later, two":             {[]plex.Verdict{miss, miss, hit, hit, hit, hit, hit, hit, hit, hit, hit, hit, miss, miss}, true, 3},
		"again later, another machine": {[]plex.Verdict{other, hit, hit, hit, hit, hit, hit, hit, hit, hit, hit, other}, true, 3},
	} {
		h := health{}
		for i, verdict := range row.verdicts {
			h = h.after(verdict, start.Add(time.Duration(i)*time.Minute))
		}
		if h.down != row.down || h.changes != row.changes {
			t.Errorf("%s: got down %t after %d changes, want %t after %d", name, h.down, h.changes, row.down, row.changes)
		}
	}
}

func TestClockThatIsSetBackDoesNotKeepARecoveryRecent(t *testing.T) {
	t.Parallel()
	h := health{recovered: start}
	for range missesToDown {
		h = h.after(miss, start.Add(-time.Hour))
	}
	if !h.down {
		t.Errorf("got up after %d misses, want down", missesToDown)
	}
}

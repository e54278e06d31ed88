package servercheck

import (
	"time"

	"plexlink.dev/operator/internal/plex"
)

const (
	// missesToDown is how many checks in a row a server may miss: one is a restart, or a packet that was lost.
	missesToDown = 2
	// missesToDownAgain is the same for a server that came back less than calm ago, so that one that comes and goes does not
	// change its state each time.
	missesToDownAgain = 5
	calm              = 10 * time.Minute
)

// health is what the checks of a target have shown so far. Its zero value is up.
type health struct {
	down      bool
	misses    int       // in a row
	changes   int       // how often down has changed
	recovered time.Time // when it last came back; zero: never
}

// after returns the health after one more check:
//
//	verdict        while up          while up, less than ten      while down
//	                                 minutes after a recovery
//	Proven         misses forgotten  misses forgotten             up
//	Unreachable    second miss in    fifth miss in a row: down    stays down
//	               a row: down
//	NotThisServer  down              as Unreachable               stays down
//	any other      ignored           ignored                      ignored
//
// A server that comes and goes behind a proxy answers like another one each time, so that is only a miss after a recovery.
func (h health) after(verdict plex.Verdict, now time.Time) health {
	limit := missesToDown
	if age := now.Sub(h.recovered); !h.recovered.IsZero() && age >= 0 && age < calm {
		limit = missesToDownAgain
	}
	switch verdict {
	case plex.Proven:
		h.misses = 0
		if h.down {
			h.down, h.recovered = false, now
			h.changes++
		}
		return h
	case plex.Unreachable:
		h.misses++
	case plex.NotThisServer:
		h.misses++
		if limit == missesToDown {
			h.misses = max(h.misses, limit)
		}
	default:
		return h
	}
	if !h.down && h.misses >= limit {
		h.down = true
		h.changes++
	}
	return h
}

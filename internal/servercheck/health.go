package servercheck

import (
	"time"

	"plexlink.dev/operator/internal/plex"
)

const (
	// missesToDown is the number of consecutive missed checks that mean down: one may be a restart or a lost packet.
	missesToDown = 2
	// missesToDownAgain is the same for a server that came back less than calm ago, so that a flapping one does not change its
	// state each time.
	missesToDownAgain = 5
	calm              = 10 * time.Minute
)

// health is the result of the checks of a target so far. The zero value is up.
type health struct {
	down      bool
	misses    int       // consecutive
	changes   int       // number of changes of down
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
// While a server behind a proxy is flapping, the proxy answers in its place each time, so after a recovery that is a miss.
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

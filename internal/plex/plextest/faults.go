package plextest

import (
	"bytes"
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"golang.org/x/time/rate"
)

// Fault changes the answers to the next requests to an endpoint. Its fields combine; zero fields leave the true answer
// unchanged.
type Fault struct {
	Endpoint Endpoint
	Server   string // only at the media server of this name; empty: wherever the endpoint is
	Times    int    // how many requests it hits: 0 is once, -1 is until ClearFaults

	Delay      time.Duration // before anything else, in real time
	Drop       bool          // the connection is cut, the request has no effect
	DropAnswer bool          // the request has its effect, then the connection is cut

	Status     int         // this status instead of the true answer
	Code       int         // plex.tv's error code in the body; 0: at plex.tv the usual one of 400, 401, 404, 429, else an HTML page
	Empty      bool        // with Status: neither a body nor a Content-Type
	Body       string      // this body instead of the usual one; with Status 200 if Status is 0
	RedirectTo string      // a redirect to this URL; with Status 302 if Status is 0
	Header     http.Header // set over those of the answer
	SlowBody   time.Duration
	HugeBody   int64 // so many blanks as body, with Status 200 if Status is 0

	// These change the true answer, if it is JSON.
	Drift      bool // the types of fields have changed: 0 and 1 for booleans, strings for numbers, numbers for digits
	OddRecords bool // a list has records that make no sense between the true ones
}

// Fault adds a fault. Faults of the same endpoint apply one after the other, in order.
func (s *Simulator) Fault(f Fault) {
	if f.Times == 0 {
		f.Times = 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// ClearFaults cancels all faults.
func (s *Simulator) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Limit is how many requests of each address plex.tv answers, by Options.Clock. It answers 429 to the others, which have no
// effect and do not count.
type Limit struct {
	PerSecond  float64 // 0: no limit
	Burst      int     // requests that are answered at once after a quiet time
	RetryAfter bool    // tell in Retry-After when the next request will be answered
}

// Limit limits the requests that arrive from now on; the zero Limit ends that.
func (s *Simulator) Limit(l Limit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit, s.limiters = l, map[string]*rate.Limiter{}
}

// overLimit reports whether a request is refused by the limit, with the fault that does it.
func (s *Simulator) overLimit(server string, r *http.Request) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if server != plexTVName || s.limit.PerSecond == 0 {
		return Fault{}, false
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		panic(err) // The server itself has set it.
	}
	limiter := s.limiters[host]
	if limiter == nil {
		limiter = rate.NewLimiter(rate.Limit(s.limit.PerSecond), s.limit.Burst)
		s.limiters[host] = limiter
	}
	now := s.clock.Now()
	if limiter.AllowN(now, 1) {
		return Fault{}, false
	}
	f := Fault{Status: http.StatusTooManyRequests}
	if s.limit.RetryAfter {
		seconds := math.Ceil((1 - limiter.TokensAt(now)) / s.limit.PerSecond)
		f.Header = http.Header{"Retry-After": {strconv.Itoa(int(seconds))}}
	}
	return f, true
}

// nextFault removes and returns the fault to apply now. The zero Fault does nothing.
func (s *Simulator) nextFault(server string, endpoint Endpoint) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.faults, func(f *Fault) bool {
		return f.Endpoint == endpoint && (f.Server == "" || f.Server == server)
	})
	if i < 0 {
		return Fault{}
	}
	f := s.faults[i]
	if f.Times > 0 {
		f.Times--
	}
	if f.Times == 0 {
		s.faults = slices.Delete(s.faults, i, i+1)
	}
	return *f
}

// usualCode returns the code in plex.tv's body for a status, or 0 if it sends a page.
func (f Fault) usualCode() int {
	switch f.Status {
	case http.StatusBadRequest:
		return codeNoClientIdentifier
	case http.StatusUnauthorized:
		return codeInvalidToken
	case http.StatusNotFound:
		if f.Endpoint == CheckPIN || f.Endpoint == LinkPIN {
			return codePINNotFound
		}
		return codeNotFound
	case http.StatusTooManyRequests:
		return codeRateLimit
	}
	return 0
}

// answer returns the fault's answer in place of the true one, if it has one.
func (f Fault) answer(server string, c *call) (a answer, replaced bool) {
	code := f.Code
	if code == 0 && server == plexTVName {
		code = f.usualCode()
	}
	switch {
	case f.Empty:
		a = answer{status: orDefault(f.Status, http.StatusNotFound), header: http.Header{}}
	case f.RedirectTo != "":
		a = htmlPage(orDefault(f.Status, http.StatusFound))
		a.header.Set("Location", f.RedirectTo)
	case f.Body != "":
		a = answer{status: orDefault(f.Status, http.StatusOK), header: http.Header{}, body: []byte(f.Body)}
	case f.Status == 0:
		return answer{}, false
	case code != 0:
		a = c.plexError(f.Status, code)
	default:
		a = htmlPage(f.Status)
	}
	return a, true
}

func orDefault(status, otherwise int) int {
	if status == 0 {
		return otherwise
	}
	return status
}

// writeHuge sends blanks, which a JSON decoder skips for as long as they come.
func writeHuge(w http.ResponseWriter, f Fault) {
	for name, values := range f.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	w.WriteHeader(orDefault(f.Status, http.StatusOK))
	blanks := bytes.Repeat([]byte(" "), 64<<10)
	for left := f.HugeBody; left > 0; left -= int64(len(blanks)) {
		if _, err := w.Write(blanks[:min(left, int64(len(blanks)))]); err != nil {
			return
		}
	}
}

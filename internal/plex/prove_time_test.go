package plex

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"plexlink.dev/operator/internal/plex/plextest"
)

// machine is what answers at an address.
type machine struct {
	id       string        // default m, the one that is looked for
	identity time.Duration // until it returns its identity
	library  time.Duration // until it answers to the token
	status   int           // of that answer; default 200
	open     time.Duration // until it answers without a token
	openness int           // the status of that answer; default 401
}

// place is a RoundTripper to machines. It counts the requests and the tokens.
type place struct {
	machines map[string]machine // by scheme://host; nothing answers at other addresses

	mu            sync.Mutex
	start         time.Time
	running, most int
	asked         []string // "URL after 3s" for each address that got a token, and "URL" for every one that was asked
	tokens        []string
}

func (p *place) RoundTrip(r *http.Request) (*http.Response, error) {
	base, hasToken := r.URL.Scheme+"://"+r.URL.Host, r.Header.Get("X-Plex-Token") != ""
	p.mu.Lock()
	p.running++
	p.most = max(p.most, p.running)
	p.asked = append(p.asked, base)
	if hasToken {
		p.tokens = append(p.tokens, fmt.Sprint(base, " after ", time.Since(p.start)))
	}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.running--
		p.mu.Unlock()
	}()
	m, exists := p.machines[base]
	if m.id == "" {
		m.id = "m"
	}
	var after time.Duration
	answer := httptest.NewRecorder()
	switch {
	case !exists:
		after = time.Hour
	case r.URL.Path == "/identity":
		after = m.identity
		fmt.Fprintf(answer, `{"MediaContainer":{"machineIdentifier":%q,"version":"1.43"}}`, m.id)
	case hasToken:
		after, answer.Code = m.library, max(m.status, http.StatusOK)
	default:
		after, answer.Code = m.open, http.StatusUnauthorized
		if m.openness > 0 {
			answer.Code = m.openness
		}
	}
	select {
	case <-time.After(after):
		return answer.Result(), nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// at returns candidates of a tier, and dead ones with addresses like https://dead-7.
func at(l Location, tier int, urls ...string) []Candidate {
	var all []Candidate
	for _, u := range urls {
		all = append(all, Candidate{URL: u, Location: l, Tier: tier})
	}
	return all
}

func dead(l Location, tier, n int) []Candidate {
	var all []Candidate
	for i := range n {
		all = append(all, at(l, tier, fmt.Sprintf("https://dead-%s-%d", l, i))...)
	}
	return all
}

// The times are those of the product, in a bubble with a clock of its own.
func TestHowLongAProofTakes(t *testing.T) {
	t.Parallel()
	const second = time.Second
	for name, tc := range map[string]struct {
		machines   map[string]machine
		candidates []Candidate
		limit      time.Duration // of the context; default 1 h
		want       string        // the chosen one; "": none
		took       time.Duration
		tokens     []string
		untouched  []string // addresses that got no request
		most       int      // requests at once; default: at most 32
	}{
		"15 dead addresses and a live one": {
			machines:   map[string]machine{"http://live": {}},
			candidates: slices.Concat(dead(Local, 0, 15), at(Local, 1, "http://live")),
			want:       "http://live", took: 3 * second, tokens: []string{"http://live after 3s"},
		},
		"40 dead addresses and a live one": {
			machines:   map[string]machine{"https://live": {}},
			candidates: slices.Concat(dead(Local, 0, 40), at(Local, 0, "https://live")),
			want:       "https://live", took: 6 * second, tokens: []string{"https://live after 6s"}, most: 32,
		},
		"a live address and 40 dead ones": {
			machines:   map[string]machine{"https://live": {}},
			candidates: slices.Concat(at(Local, 0, "https://live"), dead(Local, 0, 40)),
			want:       "https://live", tokens: []string{"https://live after 0s"}, untouched: []string{"https://dead-Local-31", "https://dead-Local-39"},
		},
		"100 dead addresses": {candidates: dead(Local, 0, 100), took: 12 * second, most: 32},
		"a batch is of one location": {
			machines:   map[string]machine{"https://live": {}},
			candidates: slices.Concat(dead(Cluster, 0, 2), at(Local, 1, "https://live"), dead(Remote, 2, 2)),
			want:       "https://live", took: 3 * second, tokens: []string{"https://live after 3s"}, most: 2,
			untouched: []string{"https://dead-Remote-0", "https://dead-Remote-1"},
		},
		"https with a slow library": {
			machines:   map[string]machine{"https://live": {library: 5 * second}, "http://live": {}},
			candidates: slices.Concat(at(Local, 0, "https://live"), at(Local, 1, "http://live")),
			want:       "https://live", took: 5 * second, tokens: []string{"https://live after 0s"},
		},
		"https with a library that is too slow": {
			machines:   map[string]machine{"https://live": {library: 12 * second}, "http://live": {}},
			candidates: slices.Concat(at(Local, 0, "https://live"), at(Local, 1, "http://live")),
			want:       "http://live", took: 10 * second, tokens: []string{"https://live after 0s", "http://live after 10s"},
		},
		"https with a slow identity": {
			machines:   map[string]machine{"https://live": {identity: 4 * second}, "http://live": {}},
			candidates: slices.Concat(at(Local, 0, "https://live"), at(Local, 1, "http://live")),
			want:       "http://live", took: 3 * second, tokens: []string{"http://live after 3s"},
		},
		"https that refuses the token": {
			machines:   map[string]machine{"https://live": {status: 401}, "http://live": {}},
			candidates: slices.Concat(at(Local, 0, "https://live"), at(Local, 1, "http://live")),
			want:       "http://live", tokens: []string{"https://live after 0s", "http://live after 0s"},
		},
		"a slow library keeps the location": {
			machines:   map[string]machine{"http://live": {library: 9 * second}, "https://remote": {}},
			candidates: slices.Concat(at(Local, 0, "http://live"), at(Remote, 1, "https://remote")),
			want:       "http://live", took: 9 * second, tokens: []string{"http://live after 0s"}, untouched: []string{"https://remote"},
		},
		"a slow library keeps the order among equals": {
			machines:   map[string]machine{"https://a": {library: 5 * second}, "https://b": {}, "https://c": {}},
			candidates: at(Local, 0, "https://a", "https://b", "https://c"),
			want:       "https://a", took: 5 * second, tokens: []string{"https://a after 0s", "https://b after 3s", "https://c after 3s"},
		},
		"a hanging library at every address": {
			machines: map[string]machine{
				"https://a": {library: time.Hour}, "https://b": {library: time.Hour}, "https://c": {library: time.Hour}, "http://d": {library: time.Hour},
			},
			candidates: slices.Concat(at(Local, 0, "https://a", "https://b", "https://c"), at(Local, 1, "http://d")),
			took:       23 * second,
			tokens:     []string{"https://a after 0s", "https://b after 3s", "https://c after 3s", "http://d after 13s"},
		},
		"another machine": {
			machines:   map[string]machine{"https://other": {id: "other"}, "http://live": {}},
			candidates: slices.Concat(at(Local, 0, "https://other"), at(Local, 1, "http://live")),
			want:       "http://live", tokens: []string{"http://live after 0s"},
		},
		"the context ends": {
			candidates: dead(Local, 0, 100), limit: 5 * second, took: 5 * second,
			untouched: []string{"https://dead-Local-64", "https://dead-Local-99"}, most: 32,
		},
		"the context ends while a library is slow": {
			machines:   map[string]machine{"https://live": {library: 9 * second}, "http://live": {}},
			candidates: slices.Concat(at(Local, 0, "https://live"), at(Local, 1, "http://live")),
			limit:      5 * second, took: 5 * second, tokens: []string{"https://live after 0s"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &place{machines: tc.machines, start: time.Now()}
				if tc.limit == 0 {
					tc.limit = time.Hour
				}
				ctx, cancel := context.WithTimeout(t.Context(), tc.limit)
				defer cancel()
				prober := Prober{Transport: p}
				proof := prober.Prove(ctx, Device{}, Server{MachineIdentifier: "m", AccessToken: "xXxX"}, tc.candidates)
				took, chosen := time.Since(p.start), ""
				if proof.Chosen != nil {
					chosen = proof.Chosen.URL
				}
				if chosen != tc.want || took != tc.took || len(proof.Outcomes) != len(tc.candidates) {
					t.Errorf("got %q and %d outcomes after %s, want %q and %d after %s",
						chosen, len(proof.Outcomes), took, tc.want, len(tc.candidates), tc.took)
				}
				if p.running != 0 || p.most > 32 || tc.most > 0 && p.most != tc.most {
					t.Errorf("got %d requests at once, %d of them still running; want %d, none", p.most, p.running, tc.most)
				}
				slices.Sort(p.tokens)
				slices.Sort(tc.tokens)
				if diff := cmp.Diff(tc.tokens, p.tokens); diff != "" {
					t.Errorf("tokens (-want +got):\n%s", diff)
				}
				for i, o := range proof.Outcomes {
					if o.Candidate != tc.candidates[i] || (o.Verdict == Proven) != (o.Err == nil && o.Verdict != NotAwaited) {
						t.Errorf("got the outcome %+v of %+v", o, tc.candidates[i])
					}
					if slices.Contains(tc.untouched, o.Candidate.URL) && (o.Verdict != NotAwaited || slices.Contains(p.asked, o.Candidate.URL)) {
						t.Errorf("got %+v, want it not awaited and never asked", o)
					}
				}
			})
		})
	}
}

func TestAServerThatNeedsNoTokenIsOpen(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		machine machine
		want    bool
		took    time.Duration
	}{
		"asks for a token": {machine{}, false, 0},
		"needs none":       {machine{openness: 200}, true, 0},
		"slowly":           {machine{openness: 200, open: 2 * time.Second}, true, 2 * time.Second},
		"too slowly":       {machine{openness: 200, open: 4 * time.Second}, false, 3 * time.Second},
		"redirects":        {machine{openness: 302}, false, 0},
		"fails":            {machine{openness: 500}, false, 0},
		"not proven":       {machine{openness: 200, status: 401}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &place{machines: map[string]machine{"http://live": tc.machine}, start: time.Now()}
				prober := Prober{Transport: p}
				s := Server{MachineIdentifier: "m", AccessToken: "xXxX"}
				proof := prober.Prove(t.Context(), Device{}, s, at(Local, 0, "http://live"))
				if took := time.Since(p.start); proof.Open != tc.want || took != tc.took || (proof.Chosen == nil) != (tc.machine.status == 401) {
					t.Errorf("got open: %t after %s; want %t after %s", proof.Open, took, tc.want, tc.took)
				}
			})
		})
	}
}

// Over a real network, with the product's time-outs.
func TestDeadAddressesCostOneTimeOutForEach32(t *testing.T) {
	t.Parallel()
	for dead, want := range map[int]time.Duration{15: 3 * time.Second, 40: 6 * time.Second} {
		t.Run(fmt.Sprint(dead), func(t *testing.T) {
			t.Parallel()
			h := newHome(t)
			m := h.sim.AddServer(plextest.Server{Name: "Home", Owner: h.owner})
			var connections []plextest.Connection
			for i := range dead {
				connections = append(connections, plextest.LocalConnection(fmt.Sprintf("http://10.0.0.%d:32400", i)))
			}
			m.SetConnections(append(connections, plextest.LocalConnection("http://192.168.1.100:32400"))...)
			h.lan.Listeners["192.168.1.100:32400"] = m.Addr
			most := h.countDials(t)

			proof, took := h.prove(t, Preferences{})
			if proof.Chosen == nil || proof.Chosen.URL != "http://192.168.1.100:32400" || proof.Version != "1.43.0.1234" || proof.Open {
				t.Errorf("got %+v, version %q, %q; want the last candidate", proof.Chosen, proof.Version, verdicts(proof))
			}
			if len(proof.Outcomes) != dead+1 || took < want || took > want+2*time.Second {
				t.Errorf("got %d outcomes in %s, want %d in about %s", len(proof.Outcomes), took, dead+1, want)
			}
			if n := most(); n < min(dead, 32) || n > 32 {
				t.Errorf("got %d dials at once, want %d to 32", n, min(dead, 32))
			}
			if n := len(h.lan.Dialed()); n < dead+1 {
				t.Errorf("got dials to %d addresses, want to all %d", n, dead+1)
			}
			t.Logf("%d dead addresses: %s, %d dials at once", dead, took.Round(time.Millisecond), most())
		})
	}
}

// countDials gives the home a prober with the product's time-outs. The result is how many of its dials ran at once, of
// those whose requests had not ended.
func (h *home) countDials(t *testing.T) func() int {
	t.Helper()
	var mu sync.Mutex
	var requests []context.Context
	most := 0
	transport := NewTransport(TransportOptions{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		mu.Lock()
		requests = append(requests, ctx.Value(requestKey{}).(context.Context))
		requests = slices.DeleteFunc(requests, func(r context.Context) bool { return r.Err() != nil })
		most = max(most, len(requests))
		mu.Unlock()
		return h.lan.DialContext(ctx, network, addr)
	}})
	t.Cleanup(transport.CloseIdleConnections)
	h.prober = Prober{Transport: transport}
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return most
	}
}

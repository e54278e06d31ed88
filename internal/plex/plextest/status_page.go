package plextest

import (
	"cmp"
	_ "embed"
	"html/template"
	"net/http"
	"slices"
	"strings"
)

//go:embed status.html
var statusHTML string

var statusTemplate = template.Must(template.New("status").Parse(pageStyle + statusHTML))

// shownRequests is how many requests the status page lists.
const shownRequests = 50

// statusView is what the status page shows. It holds no secret as a whole.
type statusView struct {
	Accounts []*Account
	Devices  []deviceView
	Servers  []serverView
	PINs     []PIN
	Requests []Request // newest first
	Total    int       // how many requests there were
}

type deviceView struct {
	Name, Product, Account, Provides, Token string
}

type serverView struct {
	Name, Owner, URL, HTTPSURL, State string
	SharedWith                        []string
}

// showStatusPage is not recorded: reloads would push everything else out.
func (s *Simulator) showStatusPage(w http.ResponseWriter, r *http.Request) {
	page(http.StatusOK, statusTemplate, s.statusView()).write(w, r, 0)
}

func (s *Simulator) statusView() statusView {
	s.mu.Lock()
	servers := slices.Clone(s.servers)
	s.mu.Unlock()
	var v statusView
	for _, m := range servers {
		v.Servers = append(v.Servers, m.view())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v.Accounts = slices.Clone(s.accounts)
	for _, a := range v.Accounts {
		for _, d := range s.devicesOf(a) {
			v.Devices = append(v.Devices, deviceView{d.name, d.product, a.Username, d.provides, beginning(d.token)})
		}
	}
	for _, p := range s.pins {
		if p.ClaimedAt.IsZero() && !p.Strong && s.clock.Now().Before(p.ExpiresAt) {
			v.PINs = append(v.PINs, PIN{Code: p.Code, Product: p.Product, DeviceName: p.DeviceName, ExpiresAt: p.ExpiresAt})
		}
	}
	v.Total = len(s.requests)
	for _, r := range slices.Backward(s.requests[max(0, v.Total-shownRequests):]) {
		v.Requests = append(v.Requests, Request{
			Time: r.Time, Server: r.Server, Endpoint: r.Endpoint, Status: r.Status, Account: r.Account, Product: r.Product,
			DeviceName: r.DeviceName,
		})
	}
	return v
}

// beginning returns the first characters of a token, to recognize it by.
func beginning(token string) string {
	if token == "" {
		return ""
	}
	return token[:4] + "…"
}

func (m *MediaServer) view() serverView {
	state, faults := m.state(), m.faults()
	v := serverView{Name: state.Name, URL: m.URL, HTTPSURL: m.HTTPSURL}
	if state.Owner != nil {
		v.Owner = state.Owner.Username
	}
	for _, a := range state.SharedWith {
		v.SharedWith = append(v.SharedWith, a.Username)
	}
	var wrong []string
	for what, is := range map[string]bool{
		"stopped": faults.Stopped, "hangs": faults.Hangs, "slow": faults.Delay > 0, "disks spin up": faults.SpinUp > 0,
		"caches tokens": faults.CachesTokens, "allowed without auth": faults.AllowedWithoutAuth,
		"incomplete certificate chain": faults.IncompleteChain,
	} {
		if is {
			wrong = append(wrong, what)
		}
	}
	slices.Sort(wrong)
	v.State = cmp.Or(strings.Join(wrong, ", "), "running")
	return v
}

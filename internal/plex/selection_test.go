package plex

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestSelectServer(t *testing.T) {
	t.Parallel()
	attic := Server{Name: "Attic", MachineIdentifier: "m-attic", Owned: true}
	cellar := Server{Name: "Cellar", MachineIdentifier: "m-cellar", Owned: true}
	cellar2 := Server{Name: "CELLAR", MachineIdentifier: "m-cellar-2"}
	shared := Server{Name: "Bob's", MachineIdentifier: "m-bob", Owner: "bob"}
	twin := Server{Name: "cellar", MachineIdentifier: "m-twin", Owned: true}
	home := Server{Name: "Home", MachineIdentifier: "abc123", Owner: "bob"}
	home2 := Server{Name: "home", MachineIdentifier: "def456", Owner: "carol"}
	nameless := Server{MachineIdentifier: "m-0", Owned: true}
	for name, tc := range map[string]struct {
		servers []Server
		sel     Selector
		want    string // a machine identifier, or the text of the error
	}{
		"the only owned one":    {[]Server{shared, attic, cellar2}, Selector{}, "m-attic"},
		"the only one":          {[]Server{shared}, Selector{}, "m-bob"},
		"by name in any case":   {[]Server{cellar, attic, shared}, Selector{Name: "bOB'S"}, "m-bob"},
		"by identifier":         {[]Server{cellar, cellar2}, Selector{MachineIdentifier: "m-cellar-2"}, "m-cellar-2"},
		"both, both right":      {[]Server{cellar, cellar2}, Selector{"cellar", "m-cellar"}, "m-cellar"},
		"none at all":           {nil, Selector{}, "the account has no Plex Media Server; claim one for it, or link another account"},
		"none at all by name":   {nil, Selector{Name: "Attic"}, "the account has no Plex Media Server; claim one for it, or link another account"},
		"several owned":         {[]Server{cellar, shared, attic}, Selector{}, `2 servers match; set spec.server.name to one of: "Attic", "Cellar"`},
		"several, none owned":   {[]Server{shared, cellar2}, Selector{}, `2 servers match; set spec.server.name to one of: "Bob's" (shared by bob), "CELLAR"`},
		"an owned name wins":    {[]Server{cellar2, cellar, attic}, Selector{Name: "cellar"}, "m-cellar"},
		"a name owned twice":    {[]Server{home, cellar, twin}, Selector{Name: "cellar"}, `2 servers are named "cellar"; set spec.server.machineIdentifier to one of: m-cellar ("Cellar"), m-twin ("cellar")`},
		"a name shared twice":   {[]Server{home, attic, home2}, Selector{Name: "home"}, `2 servers are named "home"; set spec.server.machineIdentifier to one of: abc123 ("Home", shared by bob), def456 ("home", shared by carol)`},
		"owned and both shared": {[]Server{home, cellar2, cellar, home2, twin}, Selector{Name: "cellar"}, `2 servers are named "cellar"; set spec.server.machineIdentifier to one of: m-cellar ("Cellar"), m-twin ("cellar")`},
		"a shared identifier":   {[]Server{cellar2, cellar}, Selector{MachineIdentifier: "m-cellar-2"}, "m-cellar-2"},
		"names that are alike":  {[]Server{cellar2, shared, {Name: "cellar", MachineIdentifier: "m-3"}}, Selector{}, `3 servers match; set spec.server.machineIdentifier to one of: m-3 ("cellar"), m-bob ("Bob's", shared by bob), m-cellar-2 ("CELLAR")`},
		"one without a name":    {[]Server{attic, nameless}, Selector{}, `2 servers match; set spec.server.machineIdentifier to one of: m-0 (""), m-attic ("Attic")`},
		"a wrong name":          {[]Server{cellar, attic}, Selector{Name: "Loft"}, `no server is named "Loft"; set spec.server.name to one of: "Attic", "Cellar"`},
		"a wrong name, shared":  {[]Server{shared, attic}, Selector{Name: "Loft"}, `no server is named "Loft"; set spec.server.name to one of: "Attic", "Bob's" (shared by bob)`},
		"an owner on two lines": {[]Server{{Name: "a", Owner: "x\ny"}}, Selector{Name: "c"}, `no server is named "c"; set spec.server.name to one of: "a" (shared by x y)`},
		"a wrong identifier":    {[]Server{attic}, Selector{MachineIdentifier: "m-0"}, `no server has the machine identifier "m-0"; set spec.server.machineIdentifier to one of: m-attic ("Attic")`},
		"identifiers have case": {[]Server{attic}, Selector{MachineIdentifier: "M-ATTIC"}, `no server has the machine identifier "M-ATTIC"; set spec.server.machineIdentifier to one of: m-attic ("Attic")`},
		"a name with a newline": {[]Server{{Name: "a\nb"}}, Selector{Name: "c"}, `no server is named "c"; set spec.server.name to one of: "a\nb"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := slices.Clone(tc.servers)
			for range 2 { // in either order: the result must not depend on it
				got, err := SelectServer(tc.servers, tc.sel)
				result := got.MachineIdentifier
				if err != nil {
					result = err.Error()
				}
				if result != tc.want {
					t.Errorf("got  %s\nwant %s", result, tc.want)
				}
				slices.Reverse(tc.servers)
			}
			if !slices.EqualFunc(before, tc.servers, func(a, b Server) bool { return a.Name == b.Name }) {
				t.Error("the caller's list was changed")
			}
		})
	}
}

func TestSelectionErrorsCarryTheServersAndStayShort(t *testing.T) {
	t.Parallel()
	var servers []Server
	for i := range 50 {
		servers = append(servers, Server{Name: fmt.Sprintf("S%02d", i), Owned: i < 40})
	}
	var ambiguous *ServerAmbiguousError
	_, err := SelectServer(servers, Selector{})
	if !errors.As(err, &ambiguous) || len(ambiguous.Servers) != 40 || !strings.HasSuffix(err.Error(), `"S09" and 30 more`) {
		t.Errorf("got %v, want 40 servers, of which 10 are shown", err)
	}
	var notFound *ServerNotFoundError
	if _, err := SelectServer(servers, Selector{Name: "x"}); !errors.As(err, &notFound) || len(notFound.Servers) != 50 {
		t.Errorf("got %v, want 50 servers", err)
	}
}

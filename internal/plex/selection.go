package plex

import (
	"fmt"
	"slices"
	"strings"
)

// Selector says which server is meant; at most one of the fields is set.
type Selector struct {
	Name              string // case does not matter
	MachineIdentifier string
}

// ServerNotFoundError says that the account has no server that the selector means.
type ServerNotFoundError struct {
	Selector Selector
	Servers  []Server // what there is
}

// ServerAmbiguousError says that several servers match.
type ServerAmbiguousError struct {
	Selector Selector
	Servers  []Server // those that match
}

// SelectServer chooses by name, which must be unique, or by machine identifier. Without either it chooses the only
// owned server, else the only server. Its errors are [*ServerNotFoundError] and [*ServerAmbiguousError].
func SelectServer(servers []Server, sel Selector) (Server, error) {
	var matches []Server
	for _, s := range servers {
		if (sel.MachineIdentifier == "" || s.MachineIdentifier == sel.MachineIdentifier) &&
			(sel.Name == "" || strings.EqualFold(s.Name, sel.Name)) {
			matches = append(matches, s)
		}
	}
	if sel == (Selector{}) {
		owned := slices.DeleteFunc(slices.Clone(matches), func(s Server) bool { return !s.Owned })
		if len(owned) > 0 {
			matches = owned
		}
	}
	switch len(matches) {
	case 0:
		return Server{}, &ServerNotFoundError{Selector: sel, Servers: servers}
	case 1:
		return matches[0], nil
	default:
		return Server{}, &ServerAmbiguousError{Selector: sel, Servers: matches}
	}
}

// Error says what is missing and what can be set instead.
func (e *ServerNotFoundError) Error() string {
	switch {
	case len(e.Servers) == 0:
		return "the account has no Plex Media Server: claim one for it, or link another account"
	case e.Selector.Name != "":
		return fmt.Sprintf("no server is named %q: %s", clip(e.Selector.Name), choice(e.Servers, "name"))
	default:
		return fmt.Sprintf("no server has the machine identifier %q: %s",
			clip(e.Selector.MachineIdentifier), choice(e.Servers, "machineIdentifier"))
	}
}

// Error says how many match and what to set.
func (e *ServerAmbiguousError) Error() string {
	if e.Selector.Name != "" {
		return fmt.Sprintf("%d servers are named %q: %s",
			len(e.Servers), clip(e.Selector.Name), choice(e.Servers, "machineIdentifier"))
	}
	return fmt.Sprintf("%d servers match: %s", len(e.Servers), choice(e.Servers, "name"))
}

// choice says which values of the field choose one of the servers, sorted and bounded; names only if they differ.
func choice(servers []Server, field string) string {
	const shown = 10
	names, identifiers := make([]string, 0, len(servers)), make([]string, 0, len(servers))
	for i, s := range servers {
		names = append(names, fmt.Sprintf("%q", s.Name))
		identifiers = append(identifiers, fmt.Sprintf("%s (%q)", s.MachineIdentifier, s.Name))
		alike := func(other Server) bool { return strings.EqualFold(other.Name, s.Name) }
		if s.Name == "" || slices.ContainsFunc(servers[:i], alike) {
			field = "machineIdentifier"
		}
	}
	values := names
	if field == "machineIdentifier" {
		values = identifiers
	}
	slices.Sort(values)
	more := ""
	if n := len(values) - shown; n > 0 {
		values, more = values[:shown], fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf("set spec.server.%s to one of: %s%s", field, strings.Join(values, ", "), more)
}

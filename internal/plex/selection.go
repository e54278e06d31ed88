package plex

import (
	"fmt"
	"slices"
	"strings"
)

// Selector selects a server; at most one of its fields is set.
type Selector struct {
	Name              string // case-insensitive
	MachineIdentifier string
}

// ServerNotFoundError means that the account has no server that matches the selector.
type ServerNotFoundError struct {
	Selector Selector
	Servers  []Server // all of the account
}

// ServerAmbiguousError means that several servers match the selector.
type ServerAmbiguousError struct {
	Selector Selector
	Servers  []Server // those that match
}

// SelectServer returns the server that matches the selector; an empty selector matches every server. Owned servers take
// precedence over shared ones. Its errors are [*ServerNotFoundError] and [*ServerAmbiguousError].
func SelectServer(servers []Server, sel Selector) (Server, error) {
	var owned, shared []Server
	for _, s := range servers {
		switch {
		case sel.MachineIdentifier != "" && s.MachineIdentifier != sel.MachineIdentifier,
			sel.Name != "" && !strings.EqualFold(s.Name, sel.Name):
		case s.Owned:
			owned = append(owned, s)
		default:
			shared = append(shared, s)
		}
	}
	matches := owned
	if len(owned) == 0 {
		matches = shared
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

// Error names what does not exist and lists what can be set instead.
func (e *ServerNotFoundError) Error() string {
	switch {
	case len(e.Servers) == 0:
		return "the account has no Plex Media Server; claim one for it, or link another account"
	case e.Selector.Name != "":
		return fmt.Sprintf("no server is named %q; %s", clip(e.Selector.Name), choice(e.Servers, "name"))
	default:
		return fmt.Sprintf("no server has the machine identifier %q; %s",
			clip(e.Selector.MachineIdentifier), choice(e.Servers, "machineIdentifier"))
	}
}

// Error states how many servers match and lists what to set.
func (e *ServerAmbiguousError) Error() string {
	if e.Selector.Name != "" {
		return fmt.Sprintf("%d servers are named %q; %s",
			len(e.Servers), clip(e.Selector.Name), choice(e.Servers, "machineIdentifier"))
	}
	return fmt.Sprintf("%d servers match; %s", len(e.Servers), choice(e.Servers, "name"))
}

// choice lists the values of the field that select one of the servers, sorted and bounded. When names are not unique it
// lists machine identifiers instead.
func choice(servers []Server, field string) string {
	const shown = 10
	names, identifiers := make([]string, 0, len(servers)), make([]string, 0, len(servers))
	for i, s := range servers {
		name, identifier := fmt.Sprintf("%q", s.Name), fmt.Sprintf("%s (%q)", s.MachineIdentifier, s.Name)
		if s.Owner != "" {
			owner := oneLine(s.Owner)
			name = fmt.Sprintf("%q (shared by %s)", s.Name, owner)
			identifier = fmt.Sprintf("%s (%q, shared by %s)", s.MachineIdentifier, s.Name, owner)
		}
		names, identifiers = append(names, name), append(identifiers, identifier)
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

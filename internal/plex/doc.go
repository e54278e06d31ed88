// Package plex talks to plex.tv and to Plex Media Servers: it links a device by PIN, lists the servers of an account,
// and proves at which of its addresses a server answers.
//
// Tokens, PIN ids and client identifiers are of type [Sensitive]. They are sent only in request headers and in the path
// of a PIN, and no error of this package contains one. Redirects are never followed, at most 1 MiB of a body is read (16
// MiB of the list of devices), and every call ends within its time-out. The package neither limits nor retries requests;
// that is up to its caller.
package plex

// Package plex talks to plex.tv and to Plex Media Servers: it links a device by PIN, lists the servers of the account,
// and finds out at which of its addresses a server really answers.
//
// Tokens, PIN ids and client identifiers are of type [Sensitive] and travel in request headers and the PIN's path only;
// no error of this package carries one. Redirects are never followed, bodies are read up to 1 MiB, and every call ends
// within its time-out. What is not promised: the package neither limits nor repeats requests.
package plex

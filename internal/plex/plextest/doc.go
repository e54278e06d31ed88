// Package plextest simulates plex.tv and Plex Media Servers over real HTTP and HTTPS on loopback, in the manner of
// net/http/httptest: a Simulator is a value that is started, steered and closed. It holds no global state and
// everything in it is safe for concurrent use.
//
//	sim := plextest.New(plextest.Options{})
//	defer sim.Close()
//	alice := sim.AddAccount("alice")
//	sim.AddServer(plextest.Server{Name: "My Plex Server", Owner: alice})
//	// … the program under test mints a PIN at sim.URL …
//	err := sim.Link(code, alice) // the person enters it
//
// It behaves as recorded from plex.tv and media servers, warts included: short-lived claimed PINs, XML without an Accept
// header, explicit nulls, https and http on one port. Faults can be set per endpoint, every request is recorded, and
// Network simulates a LAN whose addresses are dead, foreign or real.
//
// The lifetime of PINs and tokens follows Options.Clock. Delays are in real time, because sockets are; for the same reason
// a Simulator does not work inside a testing/synctest bubble.
//
// README.md lists what is simulated, based on which evidence, and what is not. The link page asks for no password: do not
// expose it.
package plextest

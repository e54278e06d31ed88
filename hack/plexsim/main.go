// plexsim serves the simulator of plex.tv and of Plex Media Servers (internal/plex/plextest) as a process of its own,
// for the demo and for playing along.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"plexlink.dev/operator/internal/plex/plextest"
)

const usage = `plexsim serves a simulated plex.tv and Plex Media Servers on loopback, until SIGINT or SIGTERM.

    go run ./hack/plexsim --account alice --account bob --server "My Plex Server=alice"

It prints on standard output, and then logs each request on standard error:

    plex.tv  http://127.0.0.1:34567
    link     http://127.0.0.1:34567/link
    server   http://127.0.0.1:45678  My Plex Server
    ready

The page at plex.tv's own address lists accounts, devices, servers and recent requests. Without --account, --server and
--config there is alice, who owns "My Plex Server". A person enters a PIN at the link page; a program posts it:

    curl --fail --data account=alice --data pin=ABCD http://127.0.0.1:34567/link

Everything speaks https on the same port: plex.tv with a certificate for plex.tv, clients.plex.tv, localhost and
127.0.0.1, media servers with one for a name such as 127-0-0-1.HASH.plex.direct.test, localhost and 127.0.0.1. Clients
trust the authority in --ca-file. Like the real one, plex.tv lists https addresses where a client asks for them. Names in
plex.direct.test resolve nowhere: advertise https://{My Plex Server}, see below, or turn https off with --https=false.

Programs on this machine order faults, all at once or not at all, and end all of them:

    curl --fail --json '{
      "faults": [{"endpoint": "GET /user", "status": 404, "empty": true, "times": 3, "delay": "2s"}],
      "limit": {"perSecond": 2, "burst": 1, "retryAfter": true},
      "ghostDevices": {"alice": 2000},
      "servers": {"My Plex Server": {"cachesTokens": true, "spinUp": "7s"}}
    }' http://127.0.0.1:34567/_control/faults
    curl --fail --request DELETE http://127.0.0.1:34567/_control/faults

    faults   endpoint, as in the log; server; times (0: once, -1: for good); delay; drop; dropAnswer; status; code; empty;
             body; redirectTo; header; slowBody (before each byte); hugeBody (bytes); drift; oddRecords
    servers  stopped; hangs; delay; spinUp; cachesTokens; allowedWithoutAuth; incompleteChain

A --config file is YAML or JSON. Only the names are required. {NAME} in a connection's uri stands for the address of
that server. Servers without owner are strangers.

    accounts: [alice, bob]
    servers:
    - name: My Plex Server
      owner: alice
      sharedWith: [bob]
      connections:                           # default: its own address
      - uri: http://172.17.0.1:32400         # protocol, address and port are taken from it
      - uri: http://{Stranger}
      - uri: http://{My Plex Server}
      - uri: https://{My Plex Server}
      - uri: https://plex.example.com
        address: 203.0.113.7
        port: 443
        remote: true                         # not local
      - uri: https://198.51.100.1:8443
        relay: true
      httpsRequired: false
      version: 1.43.0.1234
      machineIdentifier: my-server           # default: random
      pathPrefix: /plex                      # as behind a reverse proxy
      listenAddr: 127.0.0.1:32400            # default: a free port
    - name: Stranger

A media server can also run where its clients look for it, such as in a Pod:

    go run ./hack/plexsim server --plex-tv http://plexsim:8080 --backend http://plexsim:32401 --machine-identifier my-server

listens on :32400, passes each request to that server of the other plexsim, and reports the addresses of its own
interfaces to plex.tv, as a real one does.

Flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "plexsim:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, args []string, out, logs io.Writer) (err error) {
	if len(args) > 0 && args[0] == "server" {
		return serveElsewhere(ctx, args[1:], out)
	}
	defer func() { // plextest panics when it cannot listen
		var listen *net.OpError
		if p := recover(); p != nil {
			if e, ok := p.(error); !ok || !errors.As(e, &listen) {
				panic(p)
			}
			err = fmt.Errorf("%w: choose another address with --addr or listenAddr", listen)
		}
	}()
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	logger := log.New(logs, "", log.Ltime|log.Lmicroseconds)
	sim := plextest.New(plextest.Options{Addr: o.addr, HTTPOnly: !o.https, Log: func(r plextest.Request) {
		logger.Printf("%s  %s  %d  account=%q product=%q device=%q", r.Server, r.Endpoint, r.Status, r.Account, r.Product, r.DeviceName)
	}})
	defer sim.Close()
	if o.caFile != "" {
		if err := os.WriteFile(o.caFile, sim.CertPEM(), 0o644); err != nil {
			return fmt.Errorf("write --ca-file: %w", err)
		}
	}
	servers := o.config.start(sim)
	fmt.Fprintf(out, "plex.tv  %s\nlink     %s/link\n", sim.URL, sim.URL)
	for _, m := range servers {
		fmt.Fprintf(out, "server   %s  %s\n", m.URL, m.Name)
	}
	fmt.Fprintln(out, "ready")
	<-ctx.Done()
	return nil
}

// options are the flags, and what is in the file that they name.
type options struct {
	addr   string
	https  bool
	caFile string
	config config
}

// parse reads the flags and the file they name. It writes usage to help if requested.
func parse(args []string, help io.Writer) (o options, err error) {
	c := &o.config
	flags := flag.NewFlagSet("plexsim", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // what is wrong is told once, by the caller
	var file string
	flags.StringVar(&o.addr, "addr", "127.0.0.1:0", "`address` where plex.tv listens; port 0 is a free one")
	flags.BoolVar(&o.https, "https", true, "speak https too; false: http only, at plex.tv and media servers, and in what plex.tv lists")
	flags.StringVar(&o.caFile, "ca-file", "", "`file` to write the authority behind all certificates to, in PEM form; it is new at each start")
	flags.StringVar(&file, "config", "", "YAML or JSON `file` with more accounts and servers")
	flags.Func("account", "`name` of an account; may be repeated", func(name string) error {
		c.addAccounts(name)
		return nil
	})
	flags.Func("server", "`NAME=OWNER` of a media server; may be repeated; the owner's account is made", func(v string) error {
		i := strings.LastIndex(v, "=")
		if i < 1 || i == len(v)-1 {
			return errors.New(`want NAME=OWNER, such as "My Plex Server=alice"`)
		}
		c.addServer(v[:i], v[i+1:])
		return nil
	})
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(help, usage)
			flags.SetOutput(help)
			flags.PrintDefaults()
		}
		return options{}, err
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("unexpected argument %q: quote names that contain blanks, and see --help", flags.Arg(0))
	}
	if file != "" {
		if err := c.read(file); err != nil {
			return options{}, fmt.Errorf("read --config: %w", err)
		}
	}
	if len(c.Accounts) == 0 && len(c.Servers) == 0 {
		c.addServer("My Plex Server", "alice")
	}
	return o, c.check()
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// serveElsewhere runs a media server of another plexsim under the addresses of this process, until ctx is done.
func serveElsewhere(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("plexsim server", flag.ContinueOnError)
	flags.SetOutput(out)
	listenAddr := flags.String("addr", ":32400", "`address` where the server listens")
	plexTV := flags.String("plex-tv", "", "`URL` of plex.tv, which learns this server's addresses")
	backend := flags.String("backend", "", "`URL` of the media server that answers")
	machineIdentifier := flags.String("machine-identifier", "", "machineIdentifier of that media server")
	if err := flags.Parse(args); err != nil {
		return err
	}
	target, err := url.Parse(*backend)
	if err != nil || target.Host == "" || *plexTV == "" || *machineIdentifier == "" {
		return errors.New("server needs --plex-tv, --backend and --machine-identifier: see plexsim --help")
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", *listenAddr)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }},
		ReadHeaderTimeout: time.Minute,
	}
	defer server.Close()
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	addresses, err := ownAddresses(l)
	if err != nil {
		return err
	}
	err = wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		err := reportAddresses(ctx, *plexTV, *machineIdentifier, addresses)
		if err != nil {
			fmt.Fprintln(out, "not reported yet:", err)
		}
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("report the addresses to plex.tv: %w", err)
	}
	fmt.Fprintf(out, "server   %q\nready\n", addresses)
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// ownAddresses returns host:port of every address that other machines may reach the listener at.
func ownAddresses(l net.Listener) ([]string, error) {
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, err
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list the addresses of the interfaces: %w", err)
	}
	var addresses []string
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			addresses = append(addresses, net.JoinHostPort(n.IP.String(), port))
		}
	}
	return addresses, nil
}

func reportAddresses(ctx context.Context, plexTV, machineIdentifier string, addresses []string) error {
	body, err := json.Marshal(addresses)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPut,
		plexTV+"/_control/servers/"+url.PathEscape(machineIdentifier)+"/addresses", bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusNoContent {
		return fmt.Errorf("plex.tv answers %s", answer.Status)
	}
	return nil
}

package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"plexlink.dev/operator/internal/plex/plextest"
)

// config is what plexsim serves. See usage for what its fields mean.
type config struct {
	Accounts []string `json:"accounts"`
	Servers  []server `json:"servers"`
}

type server struct {
	Name              string       `json:"name"`
	Owner             string       `json:"owner"`
	SharedWith        []string     `json:"sharedWith"`
	Connections       []connection `json:"connections"`
	HTTPSRequired     bool         `json:"httpsRequired"`
	Version           string       `json:"version"`
	MachineIdentifier string       `json:"machineIdentifier"`
	PathPrefix        string       `json:"pathPrefix"`
	ListenAddr        string       `json:"listenAddr"`
}

type connection struct {
	URI     string `json:"uri"`
	Address string `json:"address"`
	Port    int    `json:"port"`
	Remote  bool   `json:"remote"`
	Relay   bool   `json:"relay"`
}

func (c *config) addServer(name, owner string) {
	c.addAccounts(owner)
	c.Servers = append(c.Servers, server{Name: name, Owner: owner})
}

func (c *config) addAccounts(names ...string) {
	for _, name := range names {
		if !slices.Contains(c.Accounts, name) {
			c.Accounts = append(c.Accounts, name)
		}
	}
}

// read adds what is in the file.
func (c *config) read(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var more config
	if err := yaml.UnmarshalStrict(raw, &more); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	c.addAccounts(more.Accounts...)
	c.Servers = append(c.Servers, more.Servers...)
	return nil
}

// check finds all mistakes at once.
func (c config) check() error {
	var mistakes []error
	mistake := func(format string, args ...any) { mistakes = append(mistakes, fmt.Errorf(format, args...)) }
	if slices.Contains(c.Accounts, "") {
		mistake("an account has no name")
	}
	addresses := c.addresses(func(server) string { return "127.0.0.1:1" })
	for i, s := range c.Servers {
		if s.Name == "" {
			mistake("server %d: set its name", i+1)
		}
		for _, account := range slices.Concat([]string{s.Owner}, s.SharedWith) {
			if account != "" && !slices.Contains(c.Accounts, account) {
				mistake("server %q: there is no account %q: add it to accounts", s.Name, account)
			}
		}
		if s.PathPrefix != "" && (!strings.HasPrefix(s.PathPrefix, "/") || strings.ContainsAny(s.PathPrefix, "{} ?#")) {
			mistake("server %q: pathPrefix %q: want a path such as /plex", s.Name, s.PathPrefix)
		}
		for _, con := range s.Connections {
			u, err := url.Parse(addresses.Replace(con.URI))
			if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.Contains(u.Host, "{") {
				mistake("server %q: connection uri %q: want http://192.168.1.100:32400 or http://{NAME} with the name of a server",
					s.Name, con.URI)
			}
		}
	}
	return errors.Join(mistakes...)
}

// addresses replaces {NAME} in a URI.
func (c config) addresses(of func(server) string) *strings.Replacer {
	pairs := make([]string, 0, 2*len(c.Servers))
	for _, s := range c.Servers {
		pairs = append(pairs, "{"+s.Name+"}", of(s))
	}
	return strings.NewReplacer(pairs...)
}

// start opens the accounts and starts the servers.
func (c config) start(sim *plextest.Simulator) []*plextest.MediaServer {
	accounts := map[string]*plextest.Account{}
	for _, name := range c.Accounts {
		accounts[name] = sim.AddAccount(name)
	}
	running := make([]*plextest.MediaServer, 0, len(c.Servers))
	byName := map[string]*plextest.MediaServer{}
	for _, s := range c.Servers {
		o := plextest.Server{
			Name: s.Name, Owner: accounts[s.Owner], HTTPSRequired: s.HTTPSRequired, Version: s.Version,
			MachineIdentifier: s.MachineIdentifier, PathPrefix: s.PathPrefix, ListenAddr: s.ListenAddr,
		}
		for _, name := range s.SharedWith {
			o.SharedWith = append(o.SharedWith, accounts[name])
		}
		m := sim.AddServer(o)
		running = append(running, m)
		byName[s.Name] = m
	}
	addresses := c.addresses(func(s server) string { return byName[s.Name].Addr })
	for i, s := range c.Servers {
		if s.Connections == nil {
			continue
		}
		advertised := make([]plextest.Connection, 0, len(s.Connections))
		for _, con := range s.Connections {
			a := plextest.LocalConnection(addresses.Replace(con.URI))
			a.Address, a.Port = cmp.Or(con.Address, a.Address), cmp.Or(con.Port, a.Port)
			a.Local, a.Relay = !con.Remote && !con.Relay, con.Relay
			advertised = append(advertised, a)
		}
		running[i].SetConnections(advertised...)
	}
	return running
}

package plex

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// Server is a media server that the account may use.
type Server struct {
	Name              string // neither unique nor stable
	MachineIdentifier string
	Version           string
	Owned             bool
	Owner             string    // the account that shares it; "" for an owned one
	AccessToken       Sensitive // valid for this server only; a shared server does not accept the account's token
	HTTPSRequired     bool
	Connections       []Connection
}

// Resources are the media servers of an account, without its other devices, in plex.tv's order.
type Resources struct {
	Servers []Server
	Skipped int // records that are or may be servers and could not be read, wholly or in part
	// Unreadable are the machine identifiers of those that could not be read at all; "": not even that.
	Unreadable []string
}

// Resources returns the media servers of the account. An owned server for which plex.tv sends no access token gets the
// account's, which is the same.
func (c *Client) Resources(ctx context.Context, d Device, token Sensitive) (Resources, error) {
	var list Resources
	_, err := c.call(ctx, d, request{
		method: http.MethodGet, path: "/resources", token: token,
		query: "includeHttps=1&includeRelay=1&includeIPv6=1",
		read: func(body io.Reader) (err error) {
			list, err = decodeResources(body)
			return err
		},
	})
	if err != nil {
		return Resources{}, fmt.Errorf("list the servers: %w", err)
	}
	for i := range list.Servers {
		if s := &list.Servers[i]; s.Owned && s.AccessToken == "" {
			s.AccessToken = token
		}
	}
	return list, nil
}

// maxList bounds the list of devices. One takes about 2 kB; accounts with thousands of abandoned ones exist.
const maxList = 16 << 20

// decodeResources reads the list record by record. A record that cannot be read is skipped, because it may be a server
// that another account shares. A list that is not well-formed is an error as a whole: it must not look like an account
// with fewer servers.
func decodeResources(body io.Reader) (Resources, error) {
	limited := &io.LimitedReader{R: body, N: maxList + 1}
	list, err := decodeList(json.NewDecoder(limited))
	if _, malformed := errors.AsType[*json.SyntaxError](err); malformed || errors.Is(err, io.EOF) {
		err = errUnexpected
	}
	if limited.N == 0 {
		err = ErrListTooLarge
	}
	if err != nil {
		return Resources{}, err
	}
	return list, nil
}

func decodeList(d *json.Decoder) (Resources, error) {
	if start, err := d.Token(); err != nil || start != json.Delim('[') {
		return Resources{}, cmp.Or(err, errUnexpected)
	}
	var list Resources
	var record json.RawMessage // reused for each
	for d.More() {
		if err := d.Decode(&record); err != nil {
			return Resources{}, err
		}
		list.add(record)
	}
	if _, err := d.Token(); err != nil { // the closing bracket
		return Resources{}, err
	}
	if _, err := d.Token(); err != io.EOF {
		return Resources{}, cmp.Or(err, errUnexpected)
	}
	return list, nil
}

// add adds the record if it is a server. Of other devices it reads provides only, so that no change of their fields
// matters.
func (r *Resources) add(record []byte) {
	var kind struct {
		Provides text `json:"provides"`
	}
	if unmarshal(record, '{', &kind) != nil {
		r.Skipped++
		r.Unreadable = append(r.Unreadable, "")
		return
	}
	if !slices.ContainsFunc(strings.Split(string(kind.Provides), ","), isServer) {
		return
	}
	server, complete, err := decodeServer(record)
	if err == nil {
		r.Servers = append(r.Servers, server)
	} else {
		r.Unreadable = append(r.Unreadable, identifierOf(record))
	}
	if err != nil || !complete {
		r.Skipped++
	}
}

// identifierOf returns the machine identifier of a server's record; "": it cannot be read.
func identifierOf(record []byte) string {
	var wire struct {
		ClientIdentifier text `json:"clientIdentifier"`
	}
	if unmarshal(record, '{', &wire) != nil {
		return ""
	}
	return clip(string(wire.ClientIdentifier))
}

func isServer(provides string) bool { return strings.TrimSpace(provides) == "server" }

// decodeServer also reports whether all connections could be read. Others are left out: the server may answer at one of
// the rest, or at spec.server.url.
func decodeServer(record []byte) (server Server, complete bool, err error) {
	var wire struct {
		Name             text            `json:"name"`
		ClientIdentifier text            `json:"clientIdentifier"`
		ProductVersion   text            `json:"productVersion"`
		Owned            flag            `json:"owned"`
		SourceTitle      text            `json:"sourceTitle"`
		AccessToken      string          `json:"accessToken"`
		HTTPSRequired    flag            `json:"httpsRequired"`
		Connections      json.RawMessage `json:"connections"`
	}
	if err := unmarshal(record, '{', &wire); err != nil {
		return Server{}, false, err
	}
	if id := string(wire.ClientIdentifier); id == "" || clip(id) != id || !isToken(id) || !isToken(wire.AccessToken) {
		return Server{}, false, errors.New("its identifier or token is not usable")
	}
	server = Server{
		Name:              clip(string(wire.Name)),
		MachineIdentifier: string(wire.ClientIdentifier),
		Version:           clip(string(wire.ProductVersion)),
		Owned:             bool(wire.Owned),
		AccessToken:       Sensitive(wire.AccessToken),
		HTTPSRequired:     bool(wire.HTTPSRequired),
	}
	if !server.Owned {
		server.Owner = clip(string(wire.SourceTitle))
	}
	server.Connections, complete = decodeConnections(wire.Connections)
	return server, complete, nil
}

// decodeConnections returns the connections that can be read, and whether that is all of them.
func decodeConnections(body []byte) (connections []Connection, complete bool) {
	if len(body) == 0 || bytes.Equal(body, []byte("null")) {
		return nil, true
	}
	var list []json.RawMessage
	if err := unmarshal(body, '[', &list); err != nil {
		return nil, false
	}
	for _, each := range list {
		var wire struct {
			Address text   `json:"address"`
			Port    number `json:"port"`
			URI     text   `json:"uri"`
			Local   flag   `json:"local"`
			Relay   flag   `json:"relay"`
		}
		if err := unmarshal(each, '{', &wire); err != nil {
			continue
		}
		connections = append(connections, Connection{
			Address: string(wire.Address),
			Port:    int(wire.Port),
			URI:     string(wire.URI),
			Local:   bool(wire.Local),
			Relay:   bool(wire.Relay),
		})
	}
	return connections, len(connections) == len(list)
}

package plextest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// plexTVName is plex.tv's name in records and faults.
const plexTVName = "plex.tv"

// handler answers one endpoint. What it returns is still subject to the fault that was ordered for the request.
type handler func(*call) answer

// call is one request, with the values that every endpoint reads.
type call struct {
	*http.Request

	json             bool // the caller asked for JSON
	parameters       url.Values
	clientIdentifier string
	token            string
	grant            *grant // set by signedIn
}

// answer is a whole response, kept until the fault of the request has been applied to it.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func newCall(r *http.Request) *call {
	c := &call{Request: r, json: wantsJSON(r), parameters: parameters(r)}
	c.clientIdentifier, c.token = c.plexValue("X-Plex-Client-Identifier"), c.plexValue("X-Plex-Token")
	return c
}

// wantsJSON reports whether a request is answered in JSON. The suffix of a path counts more than the header Accept.
func wantsJSON(r *http.Request) bool {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	switch {
	case strings.HasSuffix(path, ".json"):
		return true
	case strings.HasSuffix(path, ".xml"):
		return false
	}
	return strings.Contains(r.Header.Get("Accept"), "json")
}

// parameters reads the query and the body, which may be a form or JSON. An unreadable body counts as empty, and so does JSON
// that is not an object: axios sends "" for an empty body.
func parameters(r *http.Request) url.Values {
	r.Body = http.MaxBytesReader(nil, r.Body, 1<<20)
	_ = r.ParseForm()
	var body map[string]any
	if strings.Contains(r.Header.Get("Content-Type"), "json") && json.NewDecoder(r.Body).Decode(&body) == nil {
		for name, value := range body {
			if value != nil && !r.Form.Has(name) && !strings.HasPrefix(name, "X-Plex-") {
				r.Form.Set(name, fmt.Sprint(value))
			}
		}
	}
	return r.Form
}

// plexValue returns an X-Plex-* value, which may come as a header, in the query or in a form.
func (c *call) plexValue(name string) string {
	return cmp.Or(c.Header.Get(name), c.parameters.Get(name))
}

// identified refuses requests without a client identifier, as all of /api/v2 does.
func identified(h handler) handler {
	return func(c *call) answer {
		if c.clientIdentifier == "" {
			return c.plexError(http.StatusBadRequest, codeNoClientIdentifier)
		}
		return h(c)
	}
}

// serve makes an http handler that records the request, applies the fault ordered for it, and answers.
func (s *Simulator) serve(server string, endpoint Endpoint, h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := newCall(r)
		request := s.begin(server, endpoint, c)
		fault, limited := s.overLimit(server, r)
		if !limited {
			fault = s.nextFault(server, endpoint)
		}
		status := 0
		defer func() { s.finish(request, status) }()

		if !pause(r, fault.Delay) {
			return
		}
		if fault.Drop {
			cut(w)
			return
		}
		if fault.HugeBody > 0 {
			status = http.StatusOK
			writeHuge(w, fault)
			return
		}
		a, replaced := fault.answer(server, c)
		if !replaced {
			a = fault.edit(h(c))
		}
		if fault.DropAnswer || a.status == 0 {
			cut(w)
			return
		}
		for name, values := range fault.Header {
			a.header[http.CanonicalHeaderKey(name)] = values
		}
		status = a.status
		a.write(w, r, fault.SlowBody)
	}
}

// write sends the answer, byte by byte with a pause before each when slow is positive.
func (a answer) write(w http.ResponseWriter, r *http.Request, slow time.Duration) {
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	if slow <= 0 {
		_, _ = w.Write(a.body)
		return
	}
	for i := range a.body {
		if !pause(r, slow) {
			return
		}
		_, _ = w.Write(a.body[i : i+1])
		http.NewResponseController(w).Flush()
	}
}

// pause waits in real time and reports whether the caller is still connected.
func pause(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// cut ends the connection within the status line. After a connection that ends before the first byte Go's transport
// may repeat a GET, and a test that counts requests would count that too.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_, _ = conn.Write([]byte("HTTP/1.1 2"))
	conn.Close()
}

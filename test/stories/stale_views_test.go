package stories

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plexlink.dev/operator/api/v1alpha1"
)

// watchesLate delays the operator's cache of a resource.
func watchesLate(w *world, resource string, by time.Duration) func(*operator) {
	w.Helper()
	return withWatches(w, resource, func(resp *http.Response) {
		late, stop := lateReader(resp.Body, by)
		resp.Body = &lateBody{PipeReader: late, body: resp.Body, stop: stop}
	})
}

// withWatches changes the responses to the operator's watches of a resource; "" stands for all resources.
func withWatches(w *world, resource string, change func(*http.Response)) func(*operator) {
	w.Helper()
	transport, err := rest.TransportFor(operatorConfig)
	if err != nil {
		w.Fatal(err)
	}
	return func(o *operator) {
		o.answer = func(req *http.Request) *http.Response {
			if !isWatch(req) || !strings.HasSuffix(req.URL.Path, resource) {
				return nil
			}
			resp, err := transport.RoundTrip(req)
			if err != nil {
				return nil // It is retried without the change, and fails in the same way.
			}
			change(resp)
			return resp
		}
	}
}

func isWatch(req *http.Request) bool { return req.URL.Query().Get("watch") != "" }

const (
	// dropTime is how long events are dropped, from the first one on, before the watch ends.
	dropTime = 1500 * time.Millisecond
	// maxDrops is how often that happens to each resource: the informer's back-off grows with each.
	maxDrops = 3
	// initialEventsEnd is the annotation of the bookmark at the end of a streamed list.
	initialEventsEnd = "k8s.io/initial-events-end"
)

// eventsDropped makes the operator's watches drop events while isOn. Then they expire, so the operator lists again and never
// sees what happened in between.
func eventsDropped(w *world, isOn func() bool) func(*operator) {
	var mu sync.Mutex
	drops, expired := map[string]int{}, map[string]bool{}
	change := withWatches(w, "", func(resp *http.Response) {
		path := resp.Request.URL.Path
		mayDrop := func() bool {
			mu.Lock()
			defer mu.Unlock()
			return isOn() && drops[path] < maxDrops
		}
		dropped := func() {
			mu.Lock()
			defer mu.Unlock()
			drops[path]++
			expired[path] = true
		}
		resp.Body = &droppingBody{
			ReadCloser: resp.Body, mayDrop: mayDrop, dropped: dropped, listed: !streamsList(resp.Request),
			ended: resp.Request.Context().Done(),
		}
	})
	return func(o *operator) {
		change(o)
		answer := o.answer
		o.answer = func(req *http.Request) *http.Response {
			mu.Lock()
			expires := isWatch(req) && !streamsList(req) && expired[req.URL.Path]
			if expires {
				delete(expired, req.URL.Path)
			}
			mu.Unlock()
			if expires {
				return refusal(req, http.StatusGone, metav1.StatusReasonExpired, "too old resource version")
			}
			return answer(req)
		}
	}
}

// streamsList reports whether a watch begins with a list.
func streamsList(req *http.Request) bool { return req.URL.Query().Get("sendInitialEvents") == "true" }

// droppingBody is the body of a watch that drops events.
type droppingBody struct {
	io.ReadCloser
	mayDrop func() bool
	dropped func()
	listed  bool            // the list at the beginning is over
	ended   <-chan struct{} // closed with the watch
	tail    string
}

func (b *droppingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if !b.listed {
		b.tail += string(p[:n])
		b.listed = strings.Contains(b.tail, initialEventsEnd)
		b.tail = b.tail[max(0, len(b.tail)-len(initialEventsEnd)):]
		return n, err
	}
	if n == 0 || !b.mayDrop() {
		return n, err
	}
	select {
	case <-time.After(dropTime): // What arrives in this time is dropped, too.
	case <-b.ended:
	}
	b.dropped()
	return 0, io.EOF
}

// oldLists gives a new operator lists that are as old as a resource version. Its watches catch up a while later.
func oldLists(w *world, version string) func(*operator) {
	const catchUp = 2 * time.Second
	lists, err := rest.TransportFor(operatorConfig)
	if err != nil {
		w.Fatal(err)
	}
	late := watchesLate(w, "", catchUp)
	return func(o *operator) {
		late(o)
		answer := o.answer
		o.answer = func(req *http.Request) *http.Response {
			q := req.URL.Query()
			switch {
			case isWatch(req) && streamsList(req): // Informers then send an ordinary list.
				return refusal(req, http.StatusBadRequest, metav1.StatusReasonBadRequest, "lists are not streamed")
			case !isWatch(req) && q.Get("resourceVersion") == "0":
				q.Set("resourceVersion", version)
				q.Set("resourceVersionMatch", string(metav1.ResourceVersionMatchExact))
				old := req.Clone(req.Context())
				old.URL.RawQuery = q.Encode()
				resp, err := lists.RoundTrip(old)
				if err != nil {
					return nil // It is retried, and fails in the same way.
				}
				return resp
			}
			return answer(req)
		}
	}
}

// lateBody is the body of a watch whose events are delayed.
type lateBody struct {
	*io.PipeReader
	body io.Closer
	stop func()
}

func (b *lateBody) Close() error {
	b.stop()
	return errors.Join(b.PipeReader.Close(), b.body.Close())
}

// lateReader returns what the body returns, each piece delayed, until it is stopped.
func lateReader(body io.Reader, by time.Duration) (late *io.PipeReader, stop func()) {
	type piece struct {
		due  time.Time
		text []byte
	}
	late, out := io.Pipe()
	stopped, stop := context.WithCancel(context.Background())
	pieces := make(chan piece, 10000)
	go func() {
		defer close(pieces)
		for {
			buffer := make([]byte, 64<<10)
			n, err := body.Read(buffer)
			pieces <- piece{time.Now().Add(by), buffer[:n]}
			if err != nil {
				return
			}
		}
	}()
	go func() {
		for p := range pieces {
			select {
			case <-time.After(time.Until(p.due)):
			case <-stopped.Done():
			}
			_, _ = out.Write(p.text) // The watch may have ended.
		}
		_ = out.Close()
	}()
	return late, stop
}

// resourceVersion returns the present resource version of the world's PlexLinks.
func (w *world) resourceVersion() string {
	w.Helper()
	var links v1alpha1.PlexLinkList
	if err := admin.List(w.Context(), &links, client.InNamespace(w.namespace)); err != nil {
		w.Fatal(err)
	}
	return links.ResourceVersion
}

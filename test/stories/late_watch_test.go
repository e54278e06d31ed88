package stories

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"k8s.io/client-go/rest"
)

// watchesLate delays the operator's cache of a resource.
func watchesLate(w *world, resource string, by time.Duration) func(*operator) {
	w.Helper()
	transport, err := rest.TransportFor(operatorConfig)
	if err != nil {
		w.Fatal(err)
	}
	return func(o *operator) {
		o.answer = func(req *http.Request) *http.Response {
			if req.URL.Query().Get("watch") == "" || !strings.HasSuffix(req.URL.Path, resource) {
				return nil
			}
			resp, err := transport.RoundTrip(req)
			if err != nil {
				return nil // It is retried without a delay, and fails in the same way.
			}
			late, stop := lateReader(resp.Body, by)
			resp.Body = &lateBody{PipeReader: late, body: resp.Body, stop: stop}
			return resp
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

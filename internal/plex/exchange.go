package plex

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode"
)

// maxBody is far larger than any usual answer, except a list of devices.
const maxBody = 1 << 20

// requestKey is the key of a request's own context in the context of its dial.
type requestKey struct{}

// answer is the answer to a request.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	secrets []Sensitive // that were sent with the request
}

// exchange sends one request and reads its whole answer; read, if it is not nil, reads the body of a successful one. It
// calls the RoundTripper directly: http.Client would follow redirects and put the URL, which contains the PIN id, into its
// errors.
func exchange(rt http.RoundTripper, req *http.Request, read func(io.Reader) error, secrets ...Sensitive) (answer, error) {
	req.Header.Set("Accept", "application/json")
	a := answer{secrets: secrets}
	resp, err := rt.RoundTrip(req.WithContext(context.WithValue(req.Context(), requestKey{}, req.Context())))
	if err != nil {
		return a, a.cleanError(err)
	}
	defer resp.Body.Close() //nolint:errcheck // nothing was written
	a.status, a.header = resp.StatusCode, resp.Header
	if read != nil && a.successful() {
		if err := read(resp.Body); err != nil {
			return a, fmt.Errorf("read the answer: %w", a.cleanError(err))
		}
		return a, nil
	}
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return a, fmt.Errorf("read the answer: %w", a.cleanError(err))
	}
	if len(a.body) > maxBody {
		return a, errors.New("the answer is larger than 1 MiB")
	}
	return a, nil
}

func (a answer) successful() bool { return a.status >= 200 && a.status <= 299 }

// isEmpty returns an error if the answer has a body although none is expected: a proxy's page proves nothing.
func (a answer) isEmpty() error {
	if len(a.body) > 0 {
		return errors.New("the answer is not empty")
	}
	return nil
}

// time returns the sender's time, with which a date in Retry-After is compared: our own clock may be wrong.
func (a answer) time() time.Time {
	if t, err := http.ParseTime(a.header.Get("Date")); err == nil {
		return t
	}
	return time.Now()
}

// clean returns foreign text in a form that an error may contain: bounded, on one line, without the secrets of the
// request.
func (a answer) clean(s string) string {
	for _, secret := range a.secrets {
		if secret != "" {
			s = strings.ReplaceAll(s, secret.Reveal(), redacted)
		}
	}
	return clip(oneLine(s))
}

// oneLine replaces everything that is not printable, such as line breaks, with spaces.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

// cleanError returns the error as it is if its text can be shown. Otherwise it returns a cleaned text only: for example,
// "malformed HTTP response" is followed by what a server sent, which may echo a secret.
func (a answer) cleanError(err error) error {
	if text := a.clean(err.Error()); text != err.Error() {
		return errors.New(text)
	}
	return err
}

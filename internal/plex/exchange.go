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

// maxBody is far beyond any answer of plex.tv that we ask for (an account with 100 devices: about 200 kB).
const maxBody = 1 << 20

// requestKey finds, in the context of a dial, that of the request it is for.
type requestKey struct{}

// answer is a complete answer with the secrets that were sent to get it.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	secrets []Sensitive
}

// exchange sends one request and reads its whole answer. It asks the RoundTripper itself: http.Client would follow
// redirects and put the URL, and with it the PIN id, into its errors.
func exchange(rt http.RoundTripper, req *http.Request, secrets ...Sensitive) (answer, error) {
	req.Header.Set("Accept", "application/json")
	a := answer{secrets: secrets}
	resp, err := rt.RoundTrip(req.WithContext(context.WithValue(req.Context(), requestKey{}, req.Context())))
	if err != nil {
		return a, a.cleanError(err)
	}
	defer resp.Body.Close() //nolint:errcheck // nothing was written
	a.status, a.header = resp.StatusCode, resp.Header
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return a, fmt.Errorf("read the answer: %w", a.cleanError(err))
	}
	if len(a.body) > maxBody {
		return a, errors.New("the answer is larger than 1 MiB")
	}
	return a, nil
}

// time is the sender's: what a Retry-After date has to be compared with if our clock is wrong.
func (a answer) time() time.Time {
	if t, err := http.ParseTime(a.header.Get("Date")); err == nil {
		return t
	}
	return time.Now()
}

// clean makes foreign text fit for an error: without the secrets we sent, on one line, bounded.
func (a answer) clean(s string) string {
	for _, secret := range a.secrets {
		if secret != "" {
			s = strings.ReplaceAll(s, secret.Reveal(), redacted)
		}
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	return clip(s)
}

// cleanError keeps an error whose text is fit to be shown. Others, such as "malformed HTTP response" followed by what
// an echoing server sent back, become plain text.
func (a answer) cleanError(err error) error {
	if text := a.clean(err.Error()); text != err.Error() {
		return errors.New(text)
	}
	return err
}

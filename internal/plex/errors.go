package plex

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// What the caller of a [Client] must do, as errors for errors.Is. A call cancelled by its context returns none of them
// but an error that is context.Canceled.
var (
	// ErrPINGone says that the PIN is unknown, expired or of another device: create a new one.
	ErrPINGone = errors.New("the PIN is gone")
	// ErrTokenInvalid says that plex.tv proved the token to be invalid: link again.
	ErrTokenInvalid = errors.New("the token is not valid")
	// ErrUnavailable says nothing about PIN or token: try again later and discard nothing.
	ErrUnavailable = errors.New("plex.tv is not available")
	// ErrBadRequest says that plex.tv understood the request and refuses it: repeating it will not help.
	ErrBadRequest = errors.New("plex.tv refuses the request")
)

// ThrottledError says that plex.tv wants fewer requests from this address: HTTP 429, or the block of an address after
// failing sign-ins (401 with code 1031). It says nothing about PIN or token.
type ThrottledError struct {
	RetryAfter time.Duration // as plex.tv said, at most 1 h; 0: it did not say
}

// Error tells how long to wait, if plex.tv said so.
func (e *ThrottledError) Error() string {
	if e.RetryAfter > 0 {
		return fmt.Sprintf("plex.tv wants fewer requests for %s", e.RetryAfter)
	}
	return "plex.tv wants fewer requests"
}

// maxRetryAfter bounds Retry-After, so that a mistaken header does not silence the caller for a day.
const maxRetryAfter = time.Hour

// ParseRetryAfter reads a Retry-After header: seconds, or an HTTP date compared with now. The result is never negative
// and at most one hour; 0 if the value cannot be read.
func ParseRetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	seconds, err := strconv.ParseUint(value, 10, 64)
	if err == nil || errors.Is(err, strconv.ErrRange) {
		// ParseUint returns the largest number with ErrRange.
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

// The error codes of plex.tv's API that refine its HTTP statuses.
const (
	codeTokenInvalid   = 1001
	codePINNotFound    = 1020
	codeAddressBlocked = 1031
)

// failure derives from an answer that is not the wanted one what the caller must do. Statuses whose meaning would make
// the caller give something up count only with a well-formed error body: a page of some proxy on the way proves nothing.
func (a answer) failure(polling, withToken bool) error {
	api := decodeErrors(a.body)
	switch status := a.status; {
	case status == http.StatusTooManyRequests, status == http.StatusUnauthorized && api.has(codeAddressBlocked):
		return &ThrottledError{RetryAfter: ParseRetryAfter(a.header.Get("Retry-After"), a.time())}
	case withToken && status == http.StatusUnauthorized && api.has(codeTokenInvalid),
		withToken && status == http.StatusUnprocessableEntity && api.says("Invalid token"):
		return ErrTokenInvalid
	case polling && status == http.StatusNotFound && api.has(codePINNotFound),
		polling && status == http.StatusGone && (len(api) > 0 || len(a.body) == 0):
		return ErrPINGone
	case status == http.StatusUnauthorized, polling && status == http.StatusNotFound, len(api) == 0:
		return fmt.Errorf("%w: HTTP %d", ErrUnavailable, status)
	case status == http.StatusRequestTimeout, status == 498 /* a signed token has expired; we use none */ :
		return fmt.Errorf("%w: HTTP %d", ErrUnavailable, status)
	case status >= 400 && status < 500:
		return fmt.Errorf("%w: HTTP %d: %s", ErrBadRequest, status, a.clean(string(api[0].Message)))
	default:
		return fmt.Errorf("%w: HTTP %d", ErrUnavailable, status)
	}
}

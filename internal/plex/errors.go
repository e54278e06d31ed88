package plex

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The errors of a [Client] besides [ThrottledError]. A call that the caller's context cancels returns none of them but
// an error that is context.Canceled. [Classify] tells them apart.
var (
	// ErrPINGone means that the PIN is unknown, expired or belongs to another device: create a new one.
	ErrPINGone = errors.New("the PIN no longer exists")
	// ErrTokenInvalid means that plex.tv called the token invalid: link again.
	ErrTokenInvalid = errors.New("the token is no longer valid")
	// ErrUnavailable proves nothing about the PIN or the token: retry later and discard nothing.
	ErrUnavailable = errors.New("plex.tv is not responding as expected")
	// ErrTokenRefused is an ErrUnavailable: plex.tv refused the token without calling it invalid.
	ErrTokenRefused error = &unavailable{"plex.tv refused the token without calling it invalid"}
	// ErrListTooLarge is an ErrUnavailable: the account has too many devices.
	ErrListTooLarge error = &unavailable{"the list of devices is larger than 16 MiB"}
	// ErrBadRequest means that plex.tv understood the request and rejects it: repeating it will not help.
	ErrBadRequest = errors.New("plex.tv rejected the request")
)

// unavailable is an ErrUnavailable with a text of its own.
type unavailable struct{ text string }

func (e *unavailable) Error() string { return e.text }

// Is makes it match ErrUnavailable.
func (*unavailable) Is(target error) bool { return target == ErrUnavailable }

// ThrottledError means that plex.tv limits requests from this address: HTTP 429, or the block of an address after too
// many failed sign-ins (401 with code 1031). It proves nothing about the PIN or the token.
type ThrottledError struct {
	RetryAfter time.Duration // from the Retry-After header, at most 1 h; 0 without one
}

// Error includes the time to wait if plex.tv sent one.
func (e *ThrottledError) Error() string {
	if e.RetryAfter > 0 {
		return fmt.Sprintf("plex.tv is rate-limiting requests for %s", e.RetryAfter)
	}
	return "plex.tv is rate-limiting requests"
}

// ClaimRefusedError means that plex.tv does not let a program enter the PIN. It proves nothing about PIN and token.
type ClaimRefusedError struct{ Status int }

// Error includes the HTTP status.
func (e *ClaimRefusedError) Error() string {
	return fmt.Sprintf("plex.tv does not let the token enter the PIN: HTTP %d", e.Status)
}

// Class is what the result of a call to plex.tv means to its caller.
type Class int

// The classes. Only ClassTokenInvalid and ClassPINGone permit giving up a token or a PIN.
const (
	ClassOK           Class = iota
	ClassThrottled          // a [ThrottledError]; see [RetryAfter]
	ClassTokenInvalid       // ErrTokenInvalid
	ClassPINGone            // ErrPINGone
	ClassUnavailable        // ErrUnavailable, and every error that is not known
	ClassBadRequest         // ErrBadRequest
	ClassCanceled           // the caller's context was canceled
	ClassTokenRefused       // ErrTokenRefused
	ClassClaimRefused       // a [ClaimRefusedError]
)

// String returns the class as a metric label, for example "token_invalid".
func (c Class) String() string {
	return [...]string{"ok", "throttled", "token_invalid", "pin_gone", "unavailable", "bad_request", "canceled",
		"token_refused", "claim_refused"}[c]
}

// Classify returns the class of a call's error; nil is ClassOK.
func Classify(err error) Class {
	_, throttled := errors.AsType[*ThrottledError](err)
	_, refused := errors.AsType[*ClaimRefusedError](err)
	switch {
	case err == nil:
		return ClassOK
	case refused:
		return ClassClaimRefused
	case throttled:
		return ClassThrottled
	case errors.Is(err, ErrTokenInvalid):
		return ClassTokenInvalid
	case errors.Is(err, ErrTokenRefused):
		return ClassTokenRefused
	case errors.Is(err, ErrPINGone):
		return ClassPINGone
	case errors.Is(err, ErrBadRequest):
		return ClassBadRequest
	case errors.Is(err, context.Canceled) && !errors.Is(err, ErrUnavailable):
		return ClassCanceled
	default:
		return ClassUnavailable
	}
}

// RetryAfter returns how long plex.tv asked to wait; 0 if it did not.
func RetryAfter(err error) time.Duration {
	if throttled, ok := errors.AsType[*ThrottledError](err); ok {
		return throttled.RetryAfter
	}
	return 0
}

// maxRetryAfter bounds Retry-After, so that a mistaken header does not silence the caller for a day.
const maxRetryAfter = time.Hour

// parseRetryAfter reads a Retry-After header: seconds, or an HTTP date, which is compared with now. The result is
// between 0 and maxRetryAfter; 0 for a value that cannot be read.
func parseRetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	seconds, err := strconv.ParseUint(value, 10, 64)
	if err == nil || errors.Is(err, strconv.ErrRange) {
		// With ErrRange, ParseUint returns the largest number.
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

// statusTokenExpired is the status for an expired JWT. PlexLink uses none.
const statusTokenExpired = 498

// failure returns the error for an unsuccessful answer. A status that would make the caller give up a token or a PIN
// counts only with plex.tv's own error body: the page of a proxy proves nothing.
func (a answer) failure(polling, withToken bool) error {
	api := decodeErrors(a.body)
	switch status := a.status; {
	case status == http.StatusTooManyRequests, status == http.StatusUnauthorized && api.has(codeAddressBlocked):
		return &ThrottledError{RetryAfter: parseRetryAfter(a.header.Get("Retry-After"), a.time())}
	case withToken && status == http.StatusUnauthorized && api.has(codeTokenInvalid),
		withToken && status == http.StatusUnprocessableEntity && api.says("Invalid token"):
		return ErrTokenInvalid
	case withToken && (status == http.StatusUnauthorized || status == http.StatusForbidden || status == statusTokenExpired):
		return fmt.Errorf("%w: HTTP %d", ErrTokenRefused, status)
	case polling && status == http.StatusNotFound && api.has(codePINNotFound):
		return ErrPINGone
	case status == http.StatusUnauthorized, polling && status == http.StatusNotFound, len(api) == 0:
		return fmt.Errorf("%w: HTTP %d", ErrUnavailable, status)
	case status == http.StatusRequestTimeout, status == statusTokenExpired:
		return fmt.Errorf("%w: HTTP %d", ErrUnavailable, status)
	case status >= 400 && status < 500:
		return fmt.Errorf("%w: HTTP %d: %s", ErrBadRequest, status, a.clean(string(api[0].Message)))
	default:
		return fmt.Errorf("%w: HTTP %d", ErrUnavailable, status)
	}
}

// refusesClaim reports whether the answer to an attempt to enter a PIN means that another attempt will not help. A 404
// without a body is what plex.tv's edge answers in an outage.
func (a answer) refusesClaim() bool {
	switch api := decodeErrors(a.body); a.status {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusGone:
		return true
	case http.StatusNotFound:
		return len(bytes.TrimSpace(a.body)) > 0
	case http.StatusUnprocessableEntity:
		return !api.says("Invalid token")
	}
	return false
}

package plex

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestFailureByStatusAndCode(t *testing.T) {
	t.Parallel()
	const (
		invalid = `{"errors":[{"code":1001,"message":"User could not be authenticated","status":401}]}`
		blocked = `{"errors":[{"code":1031,"message":"Too many failed sign-ins"}]}`
		gone    = `{"errors":[{"code":1020,"message":"Code not found or expired","status":404}]}`
		missing = `{"errors":[{"code":1002,"message":"Resource not found","status":404}]}`
		html    = `<html><head><title>Oops</title></head><body>1001</body></html>`
	)
	const poll, token = 1, 2
	for name, tc := range map[string]struct {
		status int
		body   string
		call   int
		want   error
	}{
		"400":                         {400, `{"errors":[{"code":1000,"message":"X-Plex-Client-Identifier is missing"}]}`, poll, ErrBadRequest},
		"400 old form":                {400, `{"error":"no"}`, token, ErrBadRequest},
		"400 HTML":                    {400, html, token, ErrUnavailable},
		"401/1001":                    {401, invalid, token, ErrTokenInvalid},
		"401/1001 XML":                {401, `<?xml version="1.0"?><errors><error code="1001" message="x" status="401"/></errors>`, token, ErrTokenInvalid},
		"401/1001 code as string":     {401, `{"errors":[{"code":"1001","message":null}]}`, token, ErrTokenInvalid},
		"401/1001 no token was sent":  {401, invalid, poll, ErrUnavailable},
		"401 no body":                 {401, ``, token, ErrTokenRefused},
		"401 HTML":                    {401, html, token, ErrTokenRefused},
		"401 other code":              {401, `{"errors":[{"code":1099,"message":"?"}]}`, token, ErrTokenRefused},
		"401 truncated":               {401, invalid[:40], token, ErrTokenRefused},
		"401/1031":                    {401, blocked, token, &ThrottledError{}},
		"401/1031 and 1001":           {401, `{"errors":[{"code":1001},{"code":1031}]}`, token, &ThrottledError{}},
		"403":                         {403, `{"error":"forbidden"}`, token, ErrTokenRefused},
		"403 HTML":                    {403, html, token, ErrTokenRefused},
		"403 no token was sent":       {403, `{"error":"forbidden"}`, poll, ErrBadRequest},
		"403 HTML without a token":    {403, html, poll, ErrUnavailable},
		"404/1020 on a poll":          {404, gone, poll, ErrPINGone},
		"404/1020 elsewhere":          {404, gone, token, ErrBadRequest},
		"404 HTML on a poll":          {404, html, poll, ErrUnavailable},
		"404 without code on a poll":  {404, `{"error":"not found"}`, poll, ErrUnavailable},
		"404 empty on a poll":         {404, ``, poll, ErrUnavailable},
		"404/1002 on a poll":          {404, missing, poll, ErrUnavailable},
		"404/1002 elsewhere":          {404, missing, token, ErrBadRequest},
		"404 empty elsewhere":         {404, ``, token, ErrUnavailable},
		"400/1020 on a poll":          {400, gone, poll, ErrBadRequest},
		"410 on a poll":               {410, ``, poll, ErrUnavailable},
		"410 HTML on a poll":          {410, html, poll, ErrUnavailable},
		"410/1020 on a poll":          {410, gone, poll, ErrBadRequest},
		"408":                         {408, `{"error":"slow"}`, token, ErrUnavailable},
		"422 Invalid token":           {422, `{"errors":[{"code":1,"message":"Invalid token"}]}`, token, ErrTokenInvalid},
		"422 old XML":                 {422, `<errors><error>Invalid token</error></errors>`, token, ErrTokenInvalid},
		"422 other":                   {422, `{"errors":[{"message":"Signature"}]}`, token, ErrBadRequest},
		"429":                         {429, `{"errors":[{"code":1003,"message":"x"}]}`, poll, &ThrottledError{}},
		"429 HTML":                    {429, html, poll, &ThrottledError{}},
		"498":                         {498, `{"error":"expired"}`, token, ErrTokenRefused},
		"498 empty":                   {498, ``, token, ErrTokenRefused},
		"498 no token was sent":       {498, `{"error":"expired"}`, poll, ErrUnavailable},
		"407":                         {407, html, token, ErrUnavailable},
		"500 with the code of a 401":  {500, invalid, token, ErrUnavailable},
		"502 HTML":                    {502, html, token, ErrUnavailable},
		"503 with the code of a poll": {503, gone, poll, ErrUnavailable},
		"302":                         {302, html, token, ErrUnavailable},
		"304 with a body":             {304, `{"error":"x"}`, token, ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := answer{status: tc.status, body: []byte(tc.body)}.failure(tc.call == poll, tc.call == token)
			if _, ok := errors.AsType[*ThrottledError](tc.want); ok {
				if throttled, ok := errors.AsType[*ThrottledError](err); !ok || throttled.RetryAfter != 0 {
					t.Errorf("got %v, want a ThrottledError without RetryAfter", err)
				}
			} else if !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if got, want := errors.Is(err, ErrTokenRefused), tc.want == ErrTokenRefused; got != want || got && !errors.Is(err, ErrUnavailable) {
				t.Errorf("got %v, a refused token: %t; want %t, and unavailable too", err, got, want)
			}
			if strings.Contains(err.Error(), "<") {
				t.Errorf("the error quotes a page: %v", err)
			}
		})
	}
}

func TestBadRequestQuotesTheMessageWithoutSecretsOnOneBoundedLine(t *testing.T) {
	t.Parallel()
	const secret = "my-unique-app-id"
	body := `{"errors":[{"code":1000,"message":"bad\n\u0007 identifier ` + secret + strings.Repeat(" and so on", 1000) + `"}]}`
	err := answer{status: 400, body: []byte(body), secrets: []Sensitive{"", secret}}.failure(false, false).Error()
	if !strings.Contains(err, "bad   identifier [redacted] and so on") || len(err) > 400 {
		t.Errorf("got %q", err)
	}
}

func TestRetryAfterDateIsComparedWithTheSendersClock(t *testing.T) {
	t.Parallel()
	sent := time.Now().Add(-5 * time.Hour)
	a := answer{status: 429, header: http.Header{
		"Date":        {sent.UTC().Format(http.TimeFormat)},
		"Retry-After": {sent.Add(90 * time.Second).UTC().Format(http.TimeFormat)},
	}}
	var throttled *ThrottledError
	if err := a.failure(false, false); !errors.As(err, &throttled) || throttled.RetryAfter != 90*time.Second {
		t.Errorf("got %v, want 90 s", err)
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	wrapped := func(err error) error { return fmt.Errorf("ping: %w", err) }
	for name, tc := range map[string]struct {
		err        error
		want       Class
		label      string
		retryAfter time.Duration
	}{
		"nil":                        {nil, ClassOK, "ok", 0},
		"throttled":                  {wrapped(&ThrottledError{}), ClassThrottled, "throttled", 0},
		"throttled with Retry-After": {wrapped(&ThrottledError{RetryAfter: 7 * time.Second}), ClassThrottled, "throttled", 7 * time.Second},
		"token invalid":              {wrapped(ErrTokenInvalid), ClassTokenInvalid, "token_invalid", 0},
		"PIN gone":                   {wrapped(ErrPINGone), ClassPINGone, "pin_gone", 0},
		"unavailable":                {wrapped(ErrUnavailable), ClassUnavailable, "unavailable", 0},
		"bad request":                {wrapped(ErrBadRequest), ClassBadRequest, "bad_request", 0},
		"canceled":                   {wrapped(context.Canceled), ClassCanceled, "canceled", 0},
		"canceled by the transport":  {wrapped(fmt.Errorf("%w: %w", ErrUnavailable, context.Canceled)), ClassUnavailable, "unavailable", 0},
		"out of time":                {wrapped(context.DeadlineExceeded), ClassUnavailable, "unavailable", 0},
		"token refused":              {wrapped(ErrTokenRefused), ClassTokenRefused, "token_refused", 0},
		"list too large":             {wrapped(ErrListTooLarge), ClassUnavailable, "unavailable", 0},
		"unknown":                    {errors.New("unknown"), ClassUnavailable, "unavailable", 0},
	} {
		if got := Classify(tc.err); got != tc.want || got.String() != tc.label {
			t.Errorf("%s: got class %d, %q; want %d, %q", name, got, got, tc.want, tc.label)
		}
		if got := RetryAfter(tc.err); got != tc.retryAfter {
			t.Errorf("%s: got Retry-After %s, want %s", name, got, tc.retryAfter)
		}
	}
}

func TestParseRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2025, 3, 7, 5, 39, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                               0,
		"soon":                           0,
		"-5":                             0,
		"0":                              0,
		" 120 ":                          2 * time.Minute,
		"3601":                           time.Hour,
		"99999999999999999999999999":     time.Hour,
		"Fri, 07 Mar 2025 05:40:30 GMT":  90 * time.Second,
		"Friday, 07-Mar-25 05:40:30 GMT": 90 * time.Second,
		"Fri, 07 Mar 2025 05:00:00 GMT":  0,
		"Fri, 07 Mar 2325 05:00:00 GMT":  time.Hour,
		"Fri, 07 Mar 9999 05:00:00 GMT":  time.Hour,
	} {
		if got := parseRetryAfter(value, now); got != want {
			t.Errorf("parseRetryAfter(%q) = %s, want %s", value, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "0", "30", "-1", "1e9", "Fri, 07 Mar 2025 05:40:30 GMT", "99999999999999999999"} {
		f.Add(seed, int64(1741325940))
	}
	f.Fuzz(func(t *testing.T, value string, now int64) {
		if d := parseRetryAfter(value, time.Unix(now, 0)); d < 0 || d > time.Hour {
			t.Errorf("parseRetryAfter(%q) = %s, want 0 to 1 h", value, d)
		}
	})
}

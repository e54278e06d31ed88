package stories

import (
	"maps"
	"net/http"
	"sync"
	"testing"
	"time"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

// secretFate is what happened to a link's Secret.
type secretFate string

const (
	noSecret secretFate = "it does not exist"
	kept     secretFate = "it was not touched"
	written  secretFate = "it was written"
	removed  secretFate = "it was removed"
)

// outcome is what a fault does to a link while it lasts.
type outcome struct {
	ready  string // reason of the condition Ready; "": the link is gone
	event  string // reason of the one warning; "": none
	secret secretFate
	newPIN bool
}

// The matrix: the effect of each class of faults at each endpoint. "resources" is that endpoint for a link whose PIN was just
// entered, "refresh" is the same endpoint for a working link.
var (
	unwell = map[string]outcome{
		"mint":      {v1alpha1.ReasonPlexUnavailable, v1alpha1.ReasonPlexUnavailable, noSecret, false},
		"poll":      {v1alpha1.ReasonAwaitingLink, "", noSecret, false},
		"user":      {v1alpha1.ReasonLinked, "", written, false},
		"resources": {v1alpha1.ReasonPlexUnavailable, v1alpha1.ReasonPlexUnavailable, noSecret, false},
		"refresh":   {v1alpha1.ReasonLinked, v1alpha1.ReasonPlexUnavailable, kept, false},
		"ping":      {v1alpha1.ReasonLinked, "", kept, false},
		"signout":   {v1alpha1.ReasonLinked, "", kept, false}, // The deletion waits.
		"identity":  {v1alpha1.ReasonLinked, v1alpha1.ReasonServerUnreachable, kept, false},
		"sections":  {v1alpha1.ReasonLinked, v1alpha1.ReasonServerUnreachable, kept, false},
	}
	// throttled pauses everything, so the account is not skipped: the servers could not be requested either.
	throttled = but(unwell, map[string]outcome{"user": {v1alpha1.ReasonAwaitingLink, "", noSecret, false}})
	// revoked proves that the token is invalid, where a token was sent.
	revoked = but(unwell, map[string]outcome{
		"user":      {v1alpha1.ReasonTokenRevoked, v1alpha1.ReasonTokenRevoked, noSecret, true},
		"resources": {v1alpha1.ReasonTokenRevoked, v1alpha1.ReasonTokenRevoked, noSecret, true},
		"refresh":   {v1alpha1.ReasonTokenRevoked, v1alpha1.ReasonTokenRevoked, kept, true},
		"ping":      {v1alpha1.ReasonTokenRevoked, v1alpha1.ReasonTokenRevoked, kept, true},
		"signout":   {"", "", removed, false},
		// The server's own no is found twice.
		"sections": {v1alpha1.ReasonTokenRejected, v1alpha1.ReasonTokenRejected, kept, false},
	})
	// blocked proves nothing about the token at plex.tv. A media server does not block addresses in this way: its 401 is one.
	blocked = but(throttled, map[string]outcome{"sections": revoked["sections"]})
	// gone is an expired PIN, and proves nothing about anything else.
	gone = but(unwell, map[string]outcome{"poll": {v1alpha1.ReasonAwaitingLink, "", noSecret, true}})
	// slow bodies take longer than the time-out. The answer to a sign-out has no body.
	slow = but(unwell, map[string]outcome{"signout": revoked["signout"]})
	// late answers come after the time-out, but a server's library may take ten seconds: its disks may sleep.
	late = but(unwell, map[string]outcome{"sections": {v1alpha1.ReasonLinked, "", kept, false}})
	// garbled answers have the status of success. Of a server's library the status is all that counts.
	garbled = but(unwell, map[string]outcome{"sections": {v1alpha1.ReasonLinked, "", kept, false}})
)

func but(outcomes, others map[string]outcome) map[string]outcome {
	outcomes = maps.Clone(outcomes)
	maps.Copy(outcomes, others)
	return outcomes
}

func TestFaultMatrix(t *testing.T) {
	var rows sync.WaitGroup
	for name, row := range map[string]struct {
		fault    plextest.Fault
		outcomes map[string]outcome
	}{
		"500":                        {plextest.Fault{Status: 500}, unwell},
		"502 with HTML":              {plextest.Fault{Status: 502, Body: "<html><h1>Bad Gateway</h1></html>"}, unwell},
		"429":                        {plextest.Fault{Status: 429}, throttled},
		"429 with seconds":           {plextest.Fault{Status: 429, Header: http.Header{"Retry-After": {"2"}}}, throttled},
		"429 with a date":            {plextest.Fault{Status: 429, Header: http.Header{"Retry-After": {"soon"}}}, throttled},
		"401 with 1001":              {plextest.Fault{Status: 401, Code: 1001}, revoked},
		"401 with 1031":              {plextest.Fault{Status: 401, Code: 1031}, blocked},
		"422":                        {plextest.Fault{Status: 422, Body: `{"errors":[{"code":1400,"message":"Unprocessable","status":422}]}`}, unwell},
		"404":                        {plextest.Fault{Status: 404}, gone},
		"404 without a body":         {plextest.Fault{Status: 404, Empty: true}, unwell},
		"time-out":                   {plextest.Fault{Delay: 4 * time.Second}, late},
		"dropped connection":         {plextest.Fault{Drop: true}, unwell},
		"slow body":                  {plextest.Fault{SlowBody: time.Minute}, slow},
		"body of 1 GiB":              {plextest.Fault{HugeBody: 1 << 30}, unwell},
		"truncated JSON":             {plextest.Fault{Body: `{"id":1234567890,"code":"ABCD","authToken":"abcdefgh`}, garbled},
		"wrong types":                {plextest.Fault{Body: `{"id":{},"code":[],"authToken":7,"username":{},"uuid":[],"pong":[],"MediaContainer":7}`}, garbled},
		"redirect to another server": {plextest.Fault{RedirectTo: "stranger"}, unwell},
	} {
		// All rows at once: they mostly wait, and as parallel tests only as many as there are cores would run.
		rows.Go(func() {
			t.Run(name, func(t *testing.T) { testRow(t, row.fault, row.outcomes) })
		})
	}
	rows.Wait()
}

func testRow(t *testing.T, fault plextest.Fault, outcomes map[string]outcome) {
	m := newMatrixRow(t, fault, outcomes)
	m.whileLinking()
	m.whileLinked()
	m.whileAskingForServers()
	m.checkWarnings()
	for _, r := range m.sim.Requests() {
		if r.Server == "Stranger" {
			t.Errorf("the redirect to another server was followed at %s", r.Endpoint)
		}
	}
}

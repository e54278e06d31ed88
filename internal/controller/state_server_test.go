package controller

import (
	"testing"
	"time"

	"plexlink.dev/operator/api/v1alpha1"
)

// failure is a failed check some time after the start.
type failure struct {
	after    time.Duration
	reason   string
	definite bool
	spec     string
}

func TestOnlyARepeatedDefiniteProblemIsConfirmed(t *testing.T) {
	t.Parallel()
	const gone, refused, silent, away = v1alpha1.ReasonServerNotFound, v1alpha1.ReasonTokenRejected,
		v1alpha1.ReasonServerUnreachable, v1alpha1.ReasonPlexUnavailable
	for name, row := range map[string]struct {
		failures []failure
		reason   string
		want     bool
	}{
		"once":                            {[]failure{{0, gone, true, "x"}}, gone, false},
		"again too soon":                  {[]failure{{0, gone, true, "x"}, {59 * time.Second, gone, true, "x"}}, gone, false},
		"again after a minute":            {[]failure{{0, gone, true, "x"}, {time.Minute, gone, true, "x"}}, gone, true},
		"another no in between":           {[]failure{{0, gone, true, "x"}, {time.Minute, refused, true, "x"}}, refused, false},
		"an outage in between":            {[]failure{{0, gone, true, "x"}, {time.Second, silent, false, "x"}, {time.Minute, gone, true, "x"}}, gone, false},
		"an outage afterwards":            {[]failure{{0, gone, true, "x"}, {time.Minute, gone, true, "x"}, {2 * time.Minute, away, false, "x"}}, gone, true},
		"another no afterwards":           {[]failure{{0, gone, true, "x"}, {time.Minute, gone, true, "x"}, {2 * time.Minute, refused, true, "x"}}, refused, true},
		"another spec afterwards":         {[]failure{{0, gone, true, "x"}, {time.Minute, gone, true, "x"}, {2 * time.Minute, gone, true, "y"}}, gone, false},
		"outages for days":                {[]failure{{0, silent, false, "x"}, {72 * time.Hour, silent, false, "x"}}, silent, false},
		"the clock was ahead for a check": {[]failure{{72 * time.Hour, gone, true, "x"}, {0, gone, true, "x"}}, gone, false},
	} {
		s := newState("identifier", "")
		s.Token = "token"
		for _, f := range row.failures {
			s = s.serverFailed(serverProblem{Reason: f.reason, Definite: f.definite, Spec: f.spec}, start.Add(f.after))
		}
		if s.Problem.Reason != row.reason || s.Problem.Confirmed != row.want {
			t.Errorf("%s: got %s, confirmed %t, want %s, %t", name, s.Problem.Reason, s.Problem.Confirmed, row.reason, row.want)
		}
		if proven := s.serverProven(server{URL: "http://192.168.1.1:32400"}, "token", start); proven.Problem != (serverProblem{}) || !proven.FailingSince.IsZero() {
			t.Errorf("%s: got the problem %+v after a proof, want none", name, proven.Problem)
		}
	}
}

func TestServerMayBeReplacedOnlyAfterADayOfSilence(t *testing.T) {
	t.Parallel()
	silent := serverProblem{Reason: v1alpha1.ReasonServerUnreachable, Spec: "x"}
	s := newState("identifier", "").serverFailed(silent, start).serverFailed(silent, start.Add(23*time.Hour))
	if s.replaceable(start.Add(23*time.Hour)) || !s.replaceable(start.Add(24*time.Hour)) {
		t.Error("got no replacement after exactly a day, or one before")
	}
	away := newState("identifier", "").serverFailed(serverProblem{Reason: v1alpha1.ReasonPlexUnavailable, Spec: "x"}, start)
	if away.replaceable(start.Add(72 * time.Hour)) {
		t.Error("got a replacement because plex.tv was away, want none")
	}
}

func TestDoubtAndRefusalCountFromTheirBeginning(t *testing.T) {
	t.Parallel()
	s := newState("identifier", "").addressDoubted(start).addressDoubted(start.Add(40 * time.Second))
	if got := s.untilMoved(start.Add(50 * time.Second)); got != 10*time.Second {
		t.Errorf("got %s until a worse address is taken, want 10s", got)
	}
	s = s.tokenRefused(start).tokenRefused(start.Add(20 * time.Hour))
	if s.refusedTooLong(start.Add(23*time.Hour)) || !s.refusedTooLong(start.Add(24*time.Hour)) {
		t.Error("got a refusal that is not counted from its beginning")
	}
	if s.pinged(start).refusedTooLong(start.Add(48 * time.Hour)) {
		t.Error("got a refusal although plex.tv has accepted the token since")
	}
}

// Faults C1 and C11: the message told neither that the address ends with its Pod, nor that no token was verified.
func TestProofStatesItsLimits(t *testing.T) {
	t.Parallel()
	s := linkedScope()
	const at = "My Plex Server answers at http://192.168.1.100:32400"
	for _, row := range []struct {
		open, pod bool
		want      string
	}{
		{false, false, at},
		{true, false, at + ", where it accepts requests without a token too, so the token is not verified"},
		{false, true, at + ", the address of a Pod, which ends with it: create a Service for the server, or set spec.server.url"},
	} {
		s.state.Server.Open, s.state.Server.Pod = row.open, row.pod
		if got := resolvedFinding(s).message; got != row.want {
			t.Errorf("got %q, want %q", got, row.want)
		}
	}
}

package main

import (
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"

	"plexlink.dev/operator/internal/plex"
)

func TestBadFlagsSayWhatToDo(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args string
		want string
	}{
		{"--deny-server-cidrs=10.0.0.0", "write it like"},
		{"--plex-qps=0", "must be greater than 0"},
		{"--plex-burst=0", "must be greater than 0"},
		{"--max-concurrent-reconciles=0", "must be greater than 0"},
		{"--leader-election-id=", "needs an id"},
		{"--leader-election-renew-deadline=20s", "lease duration > renew deadline"},
		{"serve", "is not a flag"},
		{"--no-such-flag", "not defined"},
	} {
		if _, _, err := parseFlags([]string{test.args}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got error %v, want it to contain %q", test.args, err, test.want)
		}
	}
}

func TestDefaultsDenyLoopbackAndMetadataService(t *testing.T) {
	t.Parallel()
	s, _, err := parseFlags(nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.deniedServerNets) != len(plex.DefaultDeny) || len(s.namespaces) != 0 || s.plexURL != "https://plex.tv" {
		t.Errorf("got settings %+v", s)
	}
	s, _, err = parseFlags([]string{"--deny-server-cidrs=", "--watch-namespaces=media, plex"})
	if err != nil || len(s.deniedServerNets) != 0 || strings.Join(s.namespaces, "+") != "media+plex" {
		t.Errorf("got settings %+v (%v)", s, err)
	}
}

// From level 8 on, client-go logs the bodies of its requests, which are Secrets.
func TestLogNeverShowsBodies(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]zapcore.Level{"--zap-log-level=info": 0, "--zap-log-level=5": -5, "--zap-log-level=10": -7} {
		_, logging, err := parseFlags([]string{args})
		if err != nil {
			t.Fatal(err)
		}
		for level := zapcore.Level(-10); level <= zapcore.ErrorLevel; level++ {
			if got := logging.Level.Enabled(level); got != (level >= want) {
				t.Errorf("%s: level %d is logged: %t", args, level, got)
			}
		}
	}
}

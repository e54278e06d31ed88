package controller

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
)

type pages struct{}

func (pages) EntryURL() string           { return "https://plex.tv/link" }
func (pages) LinkURL(code string) string { return "https://plex.tv/link/?pin=" + code }

// linkedScope is a link at which nothing is wrong and nothing is news.
func linkedScope() *scope {
	link := &v1alpha1.PlexLink{ObjectMeta: metav1.ObjectMeta{Name: "kometa", Namespace: "media", Generation: 3}}
	d := device{ClientIdentifier: "example", Token: "example", ServerToken: "example", deviceState: deviceState{
		Account: plex.Account{Username: "alice"},
		Server: &server{
			Name: "My Plex Server", MachineIdentifier: "example", Owned: true,
			URL: "http://192.168.1.100:32400", Spec: serverSpecKey(link.Spec.Server),
		},
	}}
	return &scope{link: link, now: start, device: d, secretInPlace: true}
}

func TestStatusSaysWhatHappenedAndWhatToDo(t *testing.T) {
	t.Parallel()
	pin := func(s *scope) {
		s.device.Token, s.device.Server = "", nil
		s.device.PINID, s.device.PIN = "1", &openPIN{Code: "ABCD", ExpiresAt: start.Add(15 * time.Minute)}
	}
	unproven := func(verdicts ...plex.Verdict) *unprovenError {
		e := &unprovenError{server: "My Plex Server"}
		for i, v := range verdicts {
			e.outcomes = append(e.outcomes, plex.Outcome{Candidate: plex.Candidate{URL: fmt.Sprintf("http://192.168.1.%d:32400", i)}, Verdict: v})
		}
		return e
	}
	for name, test := range map[string]struct {
		change          func(*scope)
		reason, message string
		progress        string // Reconciling, Stalled or neither
	}{
		"linked":        {func(*scope) {}, "Linked", "the Secret kometa has a token for My Plex Server at http://192.168.1.100:32400", ""},
		"a PIN is open": {pin, "AwaitingLink", "enter ABCD at https://plex.tv/link before 12:15 UTC", "Reconciling"},
		"no PIN yet":    {func(s *scope) { s.device = device{ClientIdentifier: "x"} }, "AwaitingLink", "being requested", "Reconciling"},
		"in the queue":  {func(s *scope) { s.device, s.place = device{ClientIdentifier: "x"}, 7 }, "Queued", "place 7 in the queue", "Reconciling"},
		"nobody entered a PIN": {func(s *scope) {
			s.device = device{ClientIdentifier: "x", deviceState: deviceState{Unentered: 8}}
		}, "PINExpired", "kubectl annotate plexlink -n media kometa --overwrite plexlink.dev/link-requested-at=", "Stalled"},
		"plex.tv gives no PIN": {func(s *scope) {
			s.device, s.plexErr = device{ClientIdentifier: "x"}, fmt.Errorf("create a PIN: %w", plex.ErrUnavailable)
		}, "PlexUnavailable", "asked again by itself", "Reconciling"},
		"the token was revoked": {func(s *scope) { pin(s); s.device.Token, s.device.TokenRevoked = "t", true },
			"TokenRevoked", "signed this device out; enter ABCD", "Reconciling"},
		"a Secret is in the way":        {func(s *scope) { s.conflict = "kometa" }, "SecretConflict", "set spec.secret.name to another name", "Stalled"},
		"the device Secret is not ours": {func(s *scope) { s.conflict = "kometa-plexlink-device" }, "SecretConflict", "delete or rename it", "Stalled"},
		"the template is broken":        {func(s *scope) { s.templateErr = &templateError{"KEY", "line 1: wrong"} }, "InvalidTemplate", "data[KEY]: line 1: wrong", "Stalled"},
		"suspended":                     {func(s *scope) { s.link.Spec.Suspend = true }, "Suspended", "spec.suspend is true", ""},
		"no such server": {func(s *scope) {
			s.resolved, s.device.Server = true, nil
			s.serverErr = &plex.ServerNotFoundError{Selector: plex.Selector{Name: "Attic"}, Servers: []plex.Server{{Name: "Cellar"}}}
		}, "ServerNotFound", `no server is named "Attic": set spec.server.name to one of: "Cellar"`, "Stalled"},
		"nothing answers": {func(s *scope) {
			s.resolved, s.device.Server, s.serverErr = true, nil, unproven(plex.Unreachable, plex.NotThisServer)
		}, "ServerUnreachable", "none of 2 addresses is My Plex Server: http://192.168.1.0:32400 unreachable; http://192.168.1.1:32400 is another server", "Reconciling"},
		"the token is refused": {func(s *scope) {
			s.resolved, s.device.Server, s.serverErr = true, nil, unproven(plex.TokenRefused)
		}, "TokenRejected", "refused the token", "Reconciling"},
		"plex.tv is down at a refresh": {func(s *scope) { s.resolved, s.serverErr = true, plex.ErrUnavailable },
			"Linked", "the last check failed, and the Secret stays as it is: plex.tv does not answer properly", ""},
		"the server is down at a refresh": {func(s *scope) { s.resolved, s.serverErr = true, unproven(plex.Unreachable) },
			"Linked", "the last check failed", ""},
		"plex.tv is down when the spec has changed": {func(s *scope) {
			s.link.Spec.Server.Name, s.resolved, s.serverErr = "Attic", true, plex.ErrUnavailable
		}, "PlexUnavailable", "asked again by itself", "Reconciling"},
		"linked again on request": {func(s *scope) {
			s.device.Relink, s.device.PINID, s.device.PIN = true, "1", &openPIN{Code: "ABCD", ExpiresAt: start}
		}, "Linked", "to link again, enter ABCD", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := linkedScope()
			test.change(s)
			s.link.Status = deriveStatus(s, pages{})
			ready := meta.FindStatusCondition(s.link.Status.Conditions, v1alpha1.ConditionReady)
			if ready.Reason != test.reason || !strings.Contains(ready.Message, test.message) {
				t.Errorf("it is %s: %s\nwant %s: %s", ready.Reason, ready.Message, test.reason, test.message)
			}
			progress := ""
			for _, c := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
				if meta.IsStatusConditionTrue(s.link.Status.Conditions, c) {
					progress += c
				}
			}
			if progress != test.progress {
				t.Errorf("it is %q, want %q", progress, test.progress)
			}
			for _, broken := range brokenStatusRules(s.link) {
				t.Error(broken)
			}
		})
	}
}

func TestStatusDoesNotChangeByItself(t *testing.T) {
	t.Parallel()
	s := linkedScope()
	s.resolved, s.serverErr = true, plex.ErrUnavailable
	s.link.Status = deriveStatus(s, pages{})
	later := *s
	later.now, later.resolved, later.serverErr = start.Add(time.Hour), false, nil // Nothing is tried meanwhile.
	if got := deriveStatus(&later, pages{}); !equality.Semantic.DeepEqual(got, s.link.Status) {
		t.Errorf("the status became %+v", got)
	}
}

func TestMessagesStayShortAndOfOneLine(t *testing.T) {
	t.Parallel()
	s := linkedScope()
	s.device.Server.Name = "a\nb" + strings.Repeat("ü", 5000)
	got := message(&v1alpha1.PlexLink{Status: deriveStatus(s, pages{})})
	if len(got) > maxMessage || strings.Contains(got, "\n") || !strings.Contains(got, "a b") {
		t.Errorf("the message has %d bytes: %.80q", len(got), got)
	}
}

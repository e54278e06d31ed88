package main

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plexlink.dev/operator/api/v1alpha1"
)

// state is a link with the condition Ready and, where it says so, a PIN or Stalled.
func state(reason string, options ...func(*v1alpha1.PlexLink)) v1alpha1.PlexLink {
	link := newLink()
	status := metav1.ConditionFalse
	if reason == v1alpha1.ReasonLinked {
		status = metav1.ConditionTrue
	}
	set(link, v1alpha1.ConditionReady, status, reason, "")
	for _, option := range options {
		option(link)
	}
	return *link
}

func withPIN(link *v1alpha1.PlexLink) { link.Status.PIN = &v1alpha1.PINStatus{Code: "7KQX"} }

func stalled(link *v1alpha1.PlexLink) {
	set(link, v1alpha1.ConditionStalled, metav1.ConditionTrue, "x", "")
}

func changed(link *v1alpha1.PlexLink) { link.Generation++ }

func TestExitCodeIsThatOfTheWorstState(t *testing.T) {
	t.Parallel()
	ready := state(v1alpha1.ReasonLinked)
	person := state(v1alpha1.ReasonAwaitingLink, withPIN)
	stuck := state(v1alpha1.ReasonInvalidTemplate, stalled)
	for name, c := range map[string]struct {
		links []v1alpha1.PlexLink
		want  int
	}{
		"none":                          {nil, 0},
		"ready":                         {[]v1alpha1.PlexLink{ready}, 0},
		"ready, and a new PIN is open":  {[]v1alpha1.PlexLink{state(v1alpha1.ReasonLinked, withPIN)}, 0},
		"ready before the last change":  {[]v1alpha1.PlexLink{state(v1alpha1.ReasonLinked, changed)}, 1},
		"not looked at":                 {[]v1alpha1.PlexLink{{Status: v1alpha1.PlexLinkStatus{ObservedGeneration: -1}}}, 1},
		"PIN open":                      {[]v1alpha1.PlexLink{person}, 3},
		"PIN requested":                 {[]v1alpha1.PlexLink{state(v1alpha1.ReasonAwaitingLink)}, 1},
		"queued":                        {[]v1alpha1.PlexLink{state(v1alpha1.ReasonQueued)}, 1},
		"revoked, PIN open":             {[]v1alpha1.PlexLink{state(v1alpha1.ReasonTokenRevoked, withPIN)}, 3},
		"PINs expired":                  {[]v1alpha1.PlexLink{state(v1alpha1.ReasonPINExpired, stalled)}, 4},
		"server not found, new PIN":     {[]v1alpha1.PlexLink{state(v1alpha1.ReasonServerNotFound, withPIN)}, 3},
		"server unreachable":            {[]v1alpha1.PlexLink{state(v1alpha1.ReasonServerUnreachable)}, 1},
		"token rejected":                {[]v1alpha1.PlexLink{state(v1alpha1.ReasonTokenRejected)}, 3},
		"secret contested":              {[]v1alpha1.PlexLink{state(v1alpha1.ReasonSecretContested)}, 3},
		"import missing":                {[]v1alpha1.PlexLink{state(v1alpha1.ReasonImportUnavailable)}, 3},
		"leader is not linked":          {[]v1alpha1.PlexLink{state(v1alpha1.ReasonAwaitingAccount)}, 3},
		"leader is missing":             {[]v1alpha1.PlexLink{state(v1alpha1.ReasonAccountUnavailable)}, 3},
		"suspended":                     {[]v1alpha1.PlexLink{state(v1alpha1.ReasonSuspended)}, 3},
		"plex.tv down":                  {[]v1alpha1.PlexLink{state(v1alpha1.ReasonPlexUnavailable)}, 1},
		"stalled":                       {[]v1alpha1.PlexLink{stuck}, 4},
		"ready and PIN open":            {[]v1alpha1.PlexLink{ready, person}, 3},
		"PIN open and stalled and more": {[]v1alpha1.PlexLink{person, stuck, ready}, 4},
	} {
		if got := exitCode(c.links...); got != c.want {
			t.Errorf("%s: exit code = %d, want %d", name, got, c.want)
		}
	}
}

func TestPINIsRequestedOnlyIfNoneComesAutomatically(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		link v1alpha1.PlexLink
		want bool
	}{
		"PINs expired":      {state(v1alpha1.ReasonPINExpired, stalled), true},
		"PIN open":          {state(v1alpha1.ReasonAwaitingLink, withPIN), false},
		"new":               {v1alpha1.PlexLink{}, false},
		"queued":            {state(v1alpha1.ReasonQueued), false},
		"ready":             {state(v1alpha1.ReasonLinked), false},
		"server not found":  {state(v1alpha1.ReasonServerNotFound, stalled), false},
		"template is wrong": {state(v1alpha1.ReasonInvalidTemplate, stalled), false},
	} {
		if got := needsRequest(&c.link); got != c.want {
			t.Errorf("%s: a PIN is requested: %t, want %t", name, got, c.want)
		}
	}
}

func TestViewEndsWhenThereIsNothingToWaitFor(t *testing.T) {
	t.Parallel()
	handled := func(link *v1alpha1.PlexLink) { link.Status.LastHandledLinkRequest = "now" }
	relinking := func(link *v1alpha1.PlexLink) {
		set(link, v1alpha1.ConditionAuthorized, metav1.ConditionTrue, v1alpha1.ReasonRelinking, "")
	}
	suspended := func(link *v1alpha1.PlexLink) { link.Spec.Suspend = true }
	for name, c := range map[string]struct {
		link          v1alpha1.PlexLink
		request       string
		linked, stuck bool
	}{
		"ready":                            {link: state(v1alpha1.ReasonLinked), linked: true},
		"ready before the last change":     {link: state(v1alpha1.ReasonLinked, changed)},
		"PIN open":                         {link: state(v1alpha1.ReasonAwaitingLink, withPIN)},
		"ready, and a new PIN is open":     {link: state(v1alpha1.ReasonLinked, withPIN)},
		"stalled":                          {link: state(v1alpha1.ReasonPINExpired, stalled), stuck: true},
		"stalled, request not handled yet": {link: state(v1alpha1.ReasonPINExpired, stalled), request: "now"},
		"request handled":                  {link: state(v1alpha1.ReasonLinked, handled), request: "now", linked: true},
		"relink, PIN not entered yet":      {link: state(v1alpha1.ReasonLinked, handled, relinking), request: "now"},
		"suspended":                        {link: state(v1alpha1.ReasonSuspended, suspended), stuck: true},
	} {
		v := view{link: &c.link, request: c.request}
		if v.linked() != c.linked || v.stuck() != c.stuck {
			t.Errorf("%s: linked, stuck = %t, %t, want %t, %t", name, v.linked(), v.stuck(), c.linked, c.stuck)
		}
	}
}

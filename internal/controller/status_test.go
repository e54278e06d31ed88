package controller

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
	"plexlink.dev/operator/internal/template"
)

type pages struct{}

func (pages) EntryURL() string           { return "https://plex.tv/link" }
func (pages) LinkURL(code string) string { return "https://plex.tv/link/?pin=" + code }

// linkedScope returns the scope of a link without a problem.
func linkedScope() *scope {
	link := &v1alpha1.PlexLink{ObjectMeta: metav1.ObjectMeta{Name: "kometa", Namespace: "media", Generation: 3}}
	return &scope{
		link: link, name: types.NamespacedName{Namespace: "media", Name: "kometa"}, now: start, memory: &entry{}, loaded: true,
		state: state{
			ClientIdentifier: "example", Token: "example", ServerToken: "example", Account: plex.Account{Username: "alice"},
			Server: server{
				Name: "My Plex Server", MachineIdentifier: "example", Owned: true,
				URL: "http://192.168.1.100:32400", Spec: serverSpecKey(link.Spec.Server),
			},
		},
		secretSynced: true, secretExists: true,
	}
}

// failed is a check of the server that failed, for the spec that the link has.
func failed(s *scope, err error) {
	p := describeServerError(err, s)
	p.Spec = serverSpecKey(s.link.Spec.Server)
	s.state = s.state.serverFailed(p, s.now)
	if err, ok := serverObstacle(s).(*obstacle); ok {
		s.obstacle = err
	}
}

func TestStatusSaysWhatHappenedAndWhatToDo(t *testing.T) {
	t.Parallel()
	nothing := func(s *scope) { s.state, s.secretSynced, s.secretExists = newState("x", ""), false, false }
	pin := func(s *scope) {
		nothing(s)
		s.state = s.state.pinMinted(plex.PIN{ID: "1", Code: "ABCD", ExpiresIn: 15 * time.Minute}, start)
	}
	follow := func(s *scope) { s.link.Spec.Account.LinkRef = &v1alpha1.PlexLinkReference{Name: "leader"} }
	waiting := &obstacle{reason: v1alpha1.ReasonAwaitingAccount, message: "Waiting for PlexLink leader to be linked"}
	unresolved := func(s *scope) { s.state.Server, s.secretSynced, s.secretExists = server{}, false, false }
	unproven := func(verdicts ...plex.Verdict) *unprovenError {
		e := &unprovenError{server: plex.Server{Name: "My Plex Server", Owned: true, AccessToken: "example"}}
		for i, v := range verdicts {
			e.outcomes = append(e.outcomes, plex.Outcome{Candidate: plex.Candidate{URL: fmt.Sprintf("http://192.168.1.%d:32400", i)}, Verdict: v})
		}
		return e
	}
	stop := func(o *obstacle) func(*scope) { return func(s *scope) { nothing(s); s.obstacle = o } }
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "kometa", Labels: map[string]string{
		v1alpha1.ManagedByLabel: v1alpha1.ManagedBy, v1alpha1.NameLabel: "two"}}}
	for name, test := range map[string]struct {
		change          func(*scope)
		reason, message string
		progress        string // Reconciling, Stalled or neither
	}{
		"linked":        {func(*scope) {}, "Linked", "Secret kometa has a token for My Plex Server at http://192.168.1.100:32400", ""},
		"a PIN is open": {pin, "AwaitingLink", "Enter ABCD at https://plex.tv/link before 12:15 UTC", "Reconciling"},
		"no PIN yet":    {nothing, "AwaitingLink", "Requesting a PIN", "Reconciling"},
		"in the queue":  {func(s *scope) { nothing(s); s.queuedTime = start }, "Queued", "Waiting for a PIN", "Reconciling"},
		"all PINs expired": {func(s *scope) { nothing(s); s.state.Unentered = 8 },
			"PINExpired", "kubectl annotate plexlink -n media kometa --overwrite plexlink.dev/link-requested-at=", "Stalled"},
		"plex.tv issues no PIN": {func(s *scope) { nothing(s); s.memory.plexProblem = plexProblem(plex.ErrUnavailable) },
			"PlexUnavailable", "plex.tv is not responding as expected; retrying automatically", "Reconciling"},
		"plex.tv asks for a pause while a PIN is open": {func(s *scope) { pin(s); s.pausedUntil = start.Add(time.Hour) },
			"PlexUnavailable", "plex.tv asks for a pause until 13:00:00 UTC", "Reconciling"},
		"the token was revoked": {func(s *scope) { pin(s); s.state.Token, s.state.Revoked = "t", true },
			"TokenRevoked", "The account has signed this device out; Enter ABCD", "Reconciling"},
		"a stranger entered the PIN": {func(s *scope) { pin(s); s.state.Stranger, s.link.Spec.Account.Username = "bob", "alice" },
			"WrongAccount", "bob entered the PIN, but spec.account asks for alice; Enter ABCD", "Reconciling"},
		"spec.account asks for another account": {func(s *scope) { s.link.Spec.Account.Username = "bob" },
			"WrongAccount", "Linked to alice, but spec.account asks for bob; Requesting a PIN", "Reconciling"},
		"a stranger entered all PINs": {func(s *scope) {
			nothing(s)
			s.state.Stranger, s.state.Unentered, s.link.Spec.Account.Username = "bob", 8, "alice"
		}, "PINExpired", "bob entered the PIN, but spec.account asks for alice; 8 PINs expired", "Stalled"},
		"the imported token is refused": {func(s *scope) { pin(s); s.state = s.state.importRefused("x", importInvalid("backup")) },
			"ImportRefused", "does not accept the token of Secret backup; put a working one there, or link again; Enter ABCD", "Reconciling"},
		"nothing to import": {stop(&obstacle{reason: v1alpha1.ReasonImportUnavailable, message: importUnavailable("backup", true)}),
			"ImportUnavailable", "Secret backup of spec.device.importSecretRef does not exist; create it with the keys client-identifier and token", "Reconciling"},
		"a Secret is in the way":        {stop(targetConflict(secret)), "SecretConflict", "(it belongs to PlexLink two); delete it, or set spec.secret.name", "Stalled"},
		"the device Secret is not ours": {stop(deviceConflict(secret)), "SecretConflict", "delete or rename it", "Stalled"},
		"the API server refuses the Secret": {stop(&obstacle{reason: v1alpha1.ReasonSecretRefused, message: "Could not store Secret x: exceeded quota"}),
			"SecretRefused", "exceeded quota", "Stalled"},
		"the API server fails": {stop(&obstacle{reason: v1alpha1.ReasonSecretRefused, message: "Could not store Secret x: webhook", passing: true}),
			"SecretRefused", "webhook", "Reconciling"},
		"the API server fails for a link that works": {func(s *scope) {
			s.obstacle = &obstacle{reason: v1alpha1.ReasonSecretRefused, message: "Could not read Secret kometa", harmless: true}
		}, "Linked", "the last check of its Secrets failed: Could not read Secret kometa", ""},
		"the Secret is contested": {func(s *scope) { s.obstacle = secretContested(nil, secret) },
			"SecretContested", "Another client keeps deleting Secret kometa", "Reconciling"},
		"the template is broken": {stop(invalidTemplate(&template.Error{Key: "KEY", Problem: "line 1: wrong"})),
			"InvalidTemplate", "spec.secret.template.data[KEY]: line 1: wrong", "Stalled"},
		"suspended": {stop(&obstacle{reason: v1alpha1.ReasonSuspended, message: suspendedMessage}), "Suspended", "spec.suspend is true", ""},
		"no such server": {func(s *scope) {
			unresolved(s)
			failed(s, &plex.ServerNotFoundError{Selector: plex.Selector{Name: "Attic"}, Servers: []plex.Server{{Name: "Cellar"}}})
		}, "ServerNotFound", `; alice entered the PIN: to link another account, run: kubectl annotate`, "Stalled"},
		"nothing answers": {func(s *scope) { unresolved(s); failed(s, unproven(plex.Unreachable, plex.NotThisServer)) },
			"ServerUnreachable", "Could not verify My Plex Server at any of its 2 addresses: http://192.168.1.0:32400 unreachable; http://192.168.1.1:32400 is another server", "Reconciling"},
		"the token is refused": {func(s *scope) { unresolved(s); failed(s, unproven(plex.TokenRefused)) },
			"TokenRejected", "refused the token", "Reconciling"},
		"plex.tv is down at a refresh": {func(s *scope) { failed(s, plex.ErrUnavailable) },
			"Linked", "the last check failed, and the Secret is left unchanged: plex.tv is not responding", ""},
		"the server is down at a refresh": {func(s *scope) { failed(s, unproven(plex.Unreachable)) }, "Linked", "the last check failed", ""},
		"plex.tv is down when the spec has changed": {func(s *scope) { s.link.Spec.Server.Name = "Attic"; failed(s, plex.ErrUnavailable) },
			"PlexUnavailable", "plex.tv is not responding", "Reconciling"},
		"the leader is not linked": {func(s *scope) { nothing(s); follow(s); s.waitsFor = waiting },
			"AwaitingAccount", "Waiting for PlexLink leader to be linked", "Reconciling"},
		"revoked, and the leader is not linked": {func(s *scope) {
			pin(s)
			follow(s)
			s.state.Token, s.state.Revoked, s.waitsFor = "t", true, waiting
		}, "AwaitingAccount", "The account has signed this device out; Waiting for PlexLink leader", "Reconciling"},
		"the operator enters the PIN": {func(s *scope) { pin(s); follow(s) },
			"AwaitingAccount", "Linking to the account of PlexLink leader", "Reconciling"},
		"plex.tv refuses the PIN": {func(s *scope) { pin(s); follow(s); s.state = s.state.claimRefused("HTTP 403") },
			"AwaitingLink", "plex.tv did not accept this PIN from PlexLink leader (HTTP 403), so a person has to enter it; Enter ABCD", "Reconciling"},
		"the leader is not linked when it is to be linked again": {func(s *scope) {
			follow(s)
			s.state, s.waitsFor = s.state.linkRequested("again", start), waiting
		}, "Linked", "to link again: Waiting for PlexLink leader to be linked", ""},
		"the leader has another account": {func(s *scope) { follow(s); s.leaderAccount = "other" },
			"WrongAccount", "Linked to alice, but spec.account asks for the account of PlexLink leader; Requesting a PIN", "Reconciling"},
		"linked again on request": {func(s *scope) {
			s.state = s.state.linkRequested("again", start).pinMinted(plex.PIN{ID: "1", Code: "ABCD"}, start)
		}, "Linked", "to link again: Enter ABCD", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := linkedScope()
			test.change(s)
			s.link.Status = deriveStatus(s, pages{})
			ready := meta.FindStatusCondition(s.link.Status.Conditions, v1alpha1.ConditionReady)
			if ready.Reason != test.reason || !strings.Contains(ready.Message, test.message) {
				t.Errorf("got %s: %s\nwant %s: %s", ready.Reason, ready.Message, test.reason, test.message)
			}
			progress := ""
			for _, c := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
				if meta.IsStatusConditionTrue(s.link.Status.Conditions, c) {
					progress += c
				}
			}
			if progress != test.progress {
				t.Errorf("got progress %q, want %q", progress, test.progress)
			}
			if s.link.Status.PIN != nil && s.follows() {
				t.Error("a PIN is shown that the operator enters")
			}
			if pinShown := s.link.Status.PIN != nil; pinShown && (progress == "Stalled" || !s.pausedUntil.IsZero()) {
				t.Error("a PIN is asked for although there is something else to do first")
			}
		})
	}
}

// While plex.tv asks for a pause, a tool that waits for a new token sees neither another status nor a PIN.
func TestAuthorizedShowsARelink(t *testing.T) {
	t.Parallel()
	s := linkedScope()
	authorized := func() string {
		return meta.FindStatusCondition(deriveStatus(s, pages{}).Conditions, v1alpha1.ConditionAuthorized).Reason
	}
	s.state = s.state.linkRequested("again", start).pinMinted(plex.PIN{ID: "1", Code: "ABCD", ExpiresIn: time.Hour}, start)
	s.pausedUntil = start.Add(time.Hour)
	if got := authorized(); got != v1alpha1.ReasonRelinking || deriveStatus(s, pages{}).PIN != nil {
		t.Errorf("got the reason %s, want %s and no PIN", got, v1alpha1.ReasonRelinking)
	}
	s.state = s.state.tokenReceived("new", start)
	if got := authorized(); got != v1alpha1.ReasonAuthorized {
		t.Errorf("got the reason %s with the new token, want %s", got, v1alpha1.ReasonAuthorized)
	}
}

func TestStatusDoesNotChangeWithoutACause(t *testing.T) {
	t.Parallel()
	s := linkedScope()
	failed(s, plex.ErrUnavailable)
	s.link.Status = deriveStatus(s, pages{})
	later := *s
	later.now, later.obstacle = start.Add(time.Hour), nil // Nothing is tried until then.
	if got := deriveStatus(&later, pages{}); !equality.Semantic.DeepEqual(got, s.link.Status) {
		t.Errorf("got %+v\nwant %+v", got, s.link.Status)
	}
}

func TestStatusTakesNothingFromThePreviousStatus(t *testing.T) {
	t.Parallel()
	s := linkedScope()
	want := deriveStatus(s, pages{})
	s.link.Status = v1alpha1.PlexLinkStatus{
		SecretName: "edited", Account: &v1alpha1.AccountStatus{Username: "edited"}, Server: &v1alpha1.ServerStatus{URL: "http://edited"},
		PIN: &v1alpha1.PINStatus{Code: "EDIT"}, Servers: []v1alpha1.ServerChoice{{Name: "edited"}}, LastHandledLinkRequest: "edited",
		LastRefreshTime: &metav1.Time{Time: start}, QueuedTime: &metav1.Time{Time: start},
	}
	got := deriveStatus(s, pages{})
	got.Conditions, want.Conditions = nil, nil // Their times differ.
	if !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestMessagesStayShortAndOfOneLine(t *testing.T) {
	t.Parallel()
	s := linkedScope()
	s.state.Server.Name = "a\nb" + strings.Repeat("ü", 5000)
	got := meta.FindStatusCondition(deriveStatus(s, pages{}).Conditions, v1alpha1.ConditionReady).Message
	if len(got) > maxMessage || strings.Contains(got, "\n") || !strings.Contains(got, "a b") {
		t.Errorf("got a message of %d bytes: %.80q", len(got), got)
	}
}

// Every reason of Ready but Linked is in the list of obstacles, or nothing would decide whether it is Stalled.
func TestEveryReasonIsAnObstacle(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "../../api/v1alpha1/conditions.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	fine := []string{v1alpha1.ReasonLinked, v1alpha1.ReasonAuthorized, v1alpha1.ReasonRelinking, v1alpha1.ReasonProven, v1alpha1.ReasonUnverified, v1alpha1.ReasonSynced}
	seen := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		seen++
		reason, _ := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		known := slices.ContainsFunc(obstacles, func(k obstacleKind) bool { return k.reason == reason })
		if known == slices.Contains(fine, reason) {
			t.Errorf("reason %s is in the list of obstacles: %t", reason, known)
		}
		return true
	})
	if seen < len(obstacles) {
		t.Errorf("found %d reasons in conditions.go, want at least %d", seen, len(obstacles))
	}
}

package controller

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex"
)

// Messages of conditions are sentences for users of kubectl: what happened, then what to do. Every changed message is a
// write, so they contain no countdowns, attempt counts or queue positions.

// maxMessage keeps messages readable in a terminal; the API allows 32 KiB.
const maxMessage = 1000

const (
	suspendedMessage    = "spec.suspend is true; nothing is checked or repaired until it is false"
	pinAcceptedMessage  = "PIN accepted; finding your server"
	writingMessage      = "PIN accepted; writing the Secret"
	requestingMessage   = "Requesting a PIN from plex.tv"
	storingMessage      = "plex.tv issued a PIN; storing it before it is shown"
	queuedMessage       = "Waiting for a PIN, because other PlexLinks have theirs open"
	identifyingMessage  = "The PIN was entered; checking which account it belongs to"
	signingStrayMessage = "Signing out the token of the wrong account before a new PIN is offered"
)

// enterPIN asks a person to enter a PIN. The time is absolute: a countdown would keep changing.
func enterPIN(code, entryURL string, expires time.Time) string {
	return fmt.Sprintf("Enter %s at %s before %s", code, entryURL, expires.UTC().Format("15:04 UTC"))
}

// minute formats a time that may be days ago.
func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// relinkCommand returns the command that requests a new PIN.
func relinkCommand(link *v1alpha1.PlexLink) string {
	return fmt.Sprintf(`kubectl annotate plexlink -n %s %s --overwrite %s="$(date)"`,
		link.Namespace, link.Name, v1alpha1.LinkRequestedAtAnnotation)
}

func pinsExpired(link *v1alpha1.PlexLink) string {
	return fmt.Sprintf("%d PINs expired before they were entered; for a new one, run: %s", maxUnentered, relinkCommand(link))
}

func pausedUntil(end time.Time) string {
	return fmt.Sprintf("plex.tv asks for a pause until %s; do not enter the PIN before then", end.UTC().Format("15:04:05 UTC"))
}

// accountName returns the name to show for an account.
func accountName(account plex.Account) string {
	if account.Username != "" {
		return clip(account.Username)
	}
	return clip(account.UUID)
}

// authorizedBy describes how the link got its token.
func authorizedBy(s *scope) string {
	name := accountName(s.state.Account)
	switch {
	case s.link.Spec.Account.LinkRef != nil && name != "":
		return fmt.Sprintf("Linked to %s, %s", name, wantedAccount(s.link.Spec.Account))
	case s.link.Spec.Account.LinkRef != nil:
		return "Linked to " + wantedAccount(s.link.Spec.Account)
	case name != "":
		return "The PIN was entered by " + name
	}
	return "The PIN was entered"
}

func following(leader string) string { return "Linking to the account of PlexLink " + leader }

func notFollowed(leader, why string) string {
	return fmt.Sprintf("plex.tv did not accept this PIN from PlexLink %s (%s), so a person has to enter it", leader, why)
}

// wantedAccount describes the account that spec.account requires.
func wantedAccount(spec v1alpha1.AccountSpec) string {
	switch {
	case spec.LinkRef != nil:
		return "the account of PlexLink " + spec.LinkRef.Name
	case spec.Username != "":
		return clip(spec.Username)
	}
	return "the account with uuid " + clip(spec.UUID)
}

func strangerEntered(stranger string, wanted v1alpha1.AccountSpec) string {
	if !wanted.IsLimited() { // The limit was removed from the spec since then.
		return fmt.Sprintf("%s entered the last PIN, which was not accepted", clip(stranger))
	}
	return fmt.Sprintf("%s entered the PIN, but spec.account asks for %s", clip(stranger), wantedAccount(wanted))
}

func linkedToOther(account plex.Account, wanted v1alpha1.AccountSpec) string {
	return fmt.Sprintf("Linked to %s, but spec.account asks for %s", accountName(account), wantedAccount(wanted))
}

func importUnavailable(secret string, missing bool) string {
	what, do := "needs", "each with printable characters without spaces"
	if missing {
		what, do = "does not exist; create it with", "or remove importSecretRef"
	}
	return fmt.Sprintf("Secret %s of spec.device.importSecretRef %s the keys %s and %s, %s",
		secret, what, keyClientIdentifier, keyToken, do)
}

func importInvalid(secret string) string {
	return fmt.Sprintf("plex.tv does not accept the token of Secret %s; put a working one there, or link again", secret)
}

func importOfOther(secret string, account plex.Account, wanted v1alpha1.AccountSpec) string {
	return fmt.Sprintf("The token of Secret %s belongs to %s, but spec.account asks for %s",
		secret, accountName(account), wantedAccount(wanted))
}

// plexProblem describes an error of plex.tv, without anything that changes from one attempt to the next.
func plexProblem(err error) string {
	switch plex.Classify(err) {
	case plex.ClassThrottled:
		return "plex.tv is rate-limiting requests; retrying automatically"
	case plex.ClassTokenRefused:
		return "plex.tv is refusing the token without calling it invalid; retrying automatically"
	case plex.ClassBadRequest:
		return capitalize(clip(err.Error())) + "; retrying automatically"
	}
	if errors.Is(err, plex.ErrListTooLarge) {
		return "plex.tv's list of this account's devices is larger than 16 MiB; remove old ones under Authorized Devices"
	}
	return "plex.tv is not responding as expected; retrying automatically"
}

// deviceConflict returns the obstacle that the name of the device Secret is taken.
func deviceConflict(secret *corev1.Secret) *obstacle {
	return &obstacle{reason: v1alpha1.ReasonSecretConflict, message: fmt.Sprintf(
		"Secret %s is not the state of this PlexLink%s; delete or rename it, or rename this PlexLink", secret.Name, belongingTo(secret))}
}

func deviceUnreadable(secret *corev1.Secret, err error) *obstacle {
	return &obstacle{reason: v1alpha1.ReasonSecretConflict, message: fmt.Sprintf(
		"The state of this PlexLink in Secret %s cannot be read: %s; restore it, or delete it to link again", secret.Name, err)}
}

// targetConflict returns the obstacle that the name of the target Secret is taken.
func targetConflict(secret *corev1.Secret) *obstacle {
	return &obstacle{reason: v1alpha1.ReasonSecretConflict, message: fmt.Sprintf(
		"Secret %s exists and does not belong to this PlexLink%s; delete it, or set spec.secret.name to another name",
		secret.Name, belongingTo(secret))}
}

// belongingTo names the owner of a Secret, if that can be seen.
func belongingTo(secret *corev1.Secret) string {
	if owner := ownerOf(secret); owner != "" {
		return " (it belongs to " + clip(owner) + ")"
	}
	return ""
}

func invalidTemplate(err error) *obstacle {
	return &obstacle{reason: v1alpha1.ReasonInvalidTemplate, message: capitalizeSentence(err.Error())}
}

// secretContested returns the obstacle that another client keeps changing the Secret; live is nil if it keeps deleting it.
func secretContested(live, desired *corev1.Secret) *obstacle {
	who, what := "Another client", "deleting"
	if live != nil {
		what = "changing"
		if editors := editorsOf(live, desired); editors != "" {
			who = clip(editors)
		}
	}
	return &obstacle{reason: v1alpha1.ReasonSecretContested, message: fmt.Sprintf(
		"%s keeps %s Secret %s; stop it, or set spec.secret.name to another name", who, what, desired.Name)}
}

// capitalizeSentence capitalizes an error, unless it begins with the name of a field.
func capitalizeSentence(text string) string {
	if strings.HasPrefix(text, "spec.") {
		return text
	}
	return capitalize(text)
}

// capitalize makes the first letter upper-case, unless the first word is plex.tv.
func capitalize(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	if size == 0 || strings.HasPrefix(text, "plex.tv") {
		return text
	}
	return string(unicode.ToUpper(first)) + text[size:]
}

// clip shortens a text from outside and makes it printable.
func clip(text string) string { return truncate(printable(text), 200) }

// printable replaces line breaks and other control characters.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, text)
}

// truncate shortens a text to a number of bytes without splitting a character.
func truncate(text string, size int) string {
	const mark = " …"
	if len(text) <= size {
		return text
	}
	text = text[:size-len(mark)]
	for !utf8.ValidString(text) && text != "" {
		text = text[:len(text)-1]
	}
	return text + mark
}

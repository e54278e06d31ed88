package controller

import (
	"errors"
	"time"

	"plexlink.dev/operator/internal/plex"
)

// maxUnentered is how many PINs in a row are minted while none is entered: two hours, at 15 minutes each.
const maxUnentered = 8

// state is everything known about a link that decides what the operator does next. It is stored in the device Secret before
// it is shown or acted on. Only the transitions below change it.
//
//	                   pinGone
//	             ┌───────────────┐
//	             ▼               │
//	newState ─▶ idle ─pinMinted▶ PIN open ─tokenPending─▶ pending token ─strangerEntered─▶ stray token ─strayGone─▶ idle
//	             │               │                           │
//	             │imported       │tokenReceived              │accountAccepted
//	             ▼               ▼                           ▼
//	            token, unproven ◀────────────────────────────┘
//	             │        ▲
//	 serverProven│        │linkRequested (Relink), then as from idle; the token stays until the next one
//	             ▼        │
//	            token, proven server ─tokenRevoked─▶ revoked: as idle, but server and Secret stay
//
// A token that a new one replaces becomes the stray token when it may belong to another account: it is signed out.
type state struct {
	ClientIdentifier plex.Sensitive `json:"-"`
	// Token of the account.
	Token plex.Sensitive `json:"-"`
	// ServerToken opens Server.
	ServerToken plex.Sensitive `json:"-"`
	// PINID belongs to PIN.
	PINID plex.Sensitive `json:"-"`
	// PendingToken was received while spec.account was set, and its account is not known yet.
	PendingToken plex.Sensitive `json:"-"`
	// StrayToken has to be signed out: its account does not match spec.account, or a newer token replaced it.
	StrayToken plex.Sensitive `json:"-"`

	// StrayOf is the account of a replaced token. If the account of Token turns out to be the same, nothing has to be signed
	// out: the newer token has invalidated the older one.
	StrayOf plex.Account `json:"strayOf,omitzero"`
	// PIN that is open.
	PIN openPIN `json:"pin,omitzero"`
	// Unentered counts the consecutive PINs that did not lead to a token, including the open one.
	Unentered int `json:"unentered,omitempty"`
	// WaitingSince orders the links that wait for a PIN; zero stands for their creation.
	WaitingSince time.Time `json:"waitingSince,omitzero"`
	// LinkRequest and RefreshRequest are the values of the annotations that were handled last.
	LinkRequest    string `json:"linkRequest,omitempty"`
	RefreshRequest string `json:"refreshRequest,omitempty"`
	// Relink means that a new PIN was requested although the token works.
	Relink bool `json:"relink,omitempty"`
	// Revoked means that plex.tv rejected the token.
	Revoked bool `json:"revoked,omitempty"`
	// Adopted means that the token was taken over from an earlier link, and its account is not known yet.
	Adopted bool `json:"adopted,omitempty"`
	// Stranger is the account that entered the last PIN and does not match spec.account.
	Stranger string `json:"stranger,omitempty"`
	// Import identifies the Secret of the last import, and ImportProblem says why its token was refused.
	Import        string `json:"import,omitempty"`
	ImportProblem string `json:"importProblem,omitempty"`
	// Account that Token belongs to; zero if not known yet.
	Account plex.Account `json:"account,omitzero"`
	// Server with the address that is in the Secret.
	Server server `json:"server,omitzero"`
	// Unproven means that the token is newer than the proof of Server.
	Unproven bool `json:"unproven,omitempty"`
	// Problem is what the last check of the server found; zero if nothing.
	Problem serverProblem `json:"problem,omitzero"`
	// FailingSince is when the first check after the last success failed.
	FailingSince time.Time `json:"failingSince,omitzero"`
	// Doubted is when the address in use was first found not to answer while a worse one did.
	Doubted time.Time `json:"doubted,omitzero"`
	// RefusedSince is when plex.tv began to refuse the token without calling it invalid.
	RefusedSince time.Time `json:"refusedSince,omitzero"`
	// Servers that the account can use, sorted.
	Servers []serverChoice `json:"servers,omitempty"`
	// LastRefresh is when token and address were last proven; LastPing is when the token was last pinged with.
	LastRefresh time.Time `json:"lastRefresh,omitzero"`
	LastPing    time.Time `json:"lastPing,omitzero"`
}

// openPIN is what a person needs to enter a PIN. The PIN's id is secret and not part of it.
type openPIN struct {
	Code           string    `json:"code"`
	QRURL          string    `json:"qrURL,omitempty"`
	ExpirationTime time.Time `json:"expirationTime"`
	// Refused is why plex.tv did not accept it with the leader's token, so that a person has to enter it.
	Refused string `json:"refused,omitempty"`
}

// newState returns the state of a link that has only an identity. The first PIN also answers a request that is already set.
func newState(identifier plex.Sensitive, linkRequest string) state {
	return state{ClientIdentifier: identifier, LinkRequest: linkRequest}
}

// adopted returns what a new link takes over from the state of an earlier one: a token, to be proven again. Without a token
// it takes nothing: anyone who plants an open PIN, or an identifier, could collect the token of the person who enters it.
func (s state) adopted(fresh state) state {
	if s.Token == "" || s.Revoked {
		return fresh
	}
	return state{
		ClientIdentifier: s.ClientIdentifier, Token: s.Token, Adopted: true, Unproven: true,
		LinkRequest: s.LinkRequest, RefreshRequest: s.RefreshRequest, LastPing: s.LastPing,
	}
}

// authorized reports whether the link has a token that is not known to be invalid.
func (s state) authorized() bool { return s.Token != "" && !s.Revoked }

// hasToken reports whether the state has any token of an account.
func (s state) hasToken() bool { return s.Token != "" || s.PendingToken != "" || s.StrayToken != "" }

// pinOpen reports whether a PIN is open.
func (s state) pinOpen() bool { return s.PINID != "" }

// openPINs returns how many PINs are open.
func (s state) openPINs() int {
	if s.pinOpen() {
		return 1
	}
	return 0
}

// settled reports whether the token and an address are proven for the given spec.server.
func (s state) settled(spec string) bool {
	return s.authorized() && !s.Unproven && s.Server != (server{}) && s.Server.Spec == spec &&
		(s.Problem == (serverProblem{}) || s.Problem.Spec == spec)
}

// linkRequested records a request for a new PIN. A PIN that is already open answers it.
func (s state) linkRequested(value string, now time.Time) state {
	s.LinkRequest = value
	s.Unentered = s.openPINs()
	s.Relink = s.authorized()
	s.WaitingSince = now
	return s
}

// relinkDropped ends the request for a new PIN, because all PINs expired while the token still works.
func (s state) relinkDropped() state {
	s.Relink = false
	return s
}

// pinMinted records a new PIN. It must be stored before the PIN is shown.
func (s state) pinMinted(pin plex.PIN, now time.Time) state {
	s.PINID = pin.ID
	s.PIN = openPIN{Code: pin.Code, QRURL: pin.QRURL, ExpirationTime: now.Add(pin.ExpiresIn).Truncate(time.Second).UTC()}
	s.Unentered++
	return s
}

// claimRefused records why plex.tv does not let the operator enter the PIN. It must be stored before the PIN is shown.
func (s state) claimRefused(why string) state {
	s.PIN.Refused = why
	return s
}

// pinGone records that the PIN expired.
func (s state) pinGone(now time.Time) state {
	s.PIN, s.PINID = openPIN{}, ""
	s.WaitingSince = now
	return s
}

// tokenReceived records the token of an entered PIN. It must be stored before anything else: plex.tv returns it for ten
// seconds only.
func (s state) tokenReceived(token plex.Sensitive, now time.Time) state {
	if s.authorized() && s.Token != token {
		s.StrayToken, s.StrayOf = s.Token, s.Account
	}
	s.PIN, s.PINID, s.PendingToken = openPIN{}, "", ""
	s.Token = token
	s.Unentered, s.Stranger, s.WaitingSince = 0, "", time.Time{}
	s.ImportProblem = ""
	s.Relink, s.Revoked, s.Adopted = false, false, false
	s.Account = plex.Account{}
	s.Unproven = true
	s.RefusedSince, s.FailingSince, s.Doubted = time.Time{}, time.Time{}, time.Time{}
	s.LastPing = now
	return s
}

// tokenPending records the token of an entered PIN whose account has to be checked against spec.account.
func (s state) tokenPending(token plex.Sensitive) state {
	s.PIN, s.PINID = openPIN{}, ""
	s.PendingToken = token
	return s
}

// accountAccepted turns the pending token into the link's token.
func (s state) accountAccepted(account plex.Account, now time.Time) state {
	return s.tokenReceived(s.PendingToken, now).accountKnown(account)
}

// strangerEntered records that the account of the pending token does not match spec.account.
func (s state) strangerEntered(account plex.Account, now time.Time) state {
	s.StrayToken, s.StrayOf, s.PendingToken = s.PendingToken, plex.Account{}, ""
	s.Stranger = account.Username
	if s.Stranger == "" {
		s.Stranger = account.UUID
	}
	s.WaitingSince = now
	return s
}

// pendingInvalid records that plex.tv rejected the pending token.
func (s state) pendingInvalid(now time.Time) state {
	s.PendingToken = ""
	s.WaitingSince = now
	return s
}

// strayGone records that the stray token is signed out or given up.
func (s state) strayGone() state {
	s.StrayToken, s.StrayOf = "", plex.Account{}
	return s
}

// imported takes over the token of spec.device.importSecretRef.
func (s state) imported(identifier, token plex.Sensitive, account plex.Account, secret string, now time.Time) state {
	s = s.tokenReceived(token, now).accountKnown(account)
	s.ClientIdentifier, s.Import = identifier, secret
	return s
}

// importRefused records that the token of spec.device.importSecretRef cannot be used, so a PIN is needed.
func (s state) importRefused(secret, problem string) state {
	s.Import, s.ImportProblem = secret, problem
	return s
}

// accountKnown records the account of the token.
func (s state) accountKnown(account plex.Account) state {
	s.Account, s.Adopted = account, false
	if s.StrayOf != (plex.Account{}) && s.StrayOf == account {
		return s.strayGone()
	}
	return s
}

// tokenRevoked records that plex.tv rejected the token. Server and Secret stay until there is a new token, for which a PIN may
// be open already.
func (s state) tokenRevoked(now time.Time) state {
	s.Revoked, s.Relink = true, false
	s.Unentered, s.RefusedSince = s.openPINs(), time.Time{}
	s.WaitingSince = now
	return s
}

// pinged records a successful ping.
func (s state) pinged(now time.Time) state {
	s.LastPing, s.RefusedSince = now, time.Time{}
	return s
}

// refreshHandled records that a requested check has been made.
func (s state) refreshHandled(value string) state {
	s.RefreshRequest = value
	return s
}

// signedOut records that the tokens are invalid at plex.tv.
func (s state) signedOut() state {
	s.Token, s.PendingToken, s.StrayToken, s.ServerToken = "", "", "", ""
	s.PIN, s.PINID = openPIN{}, ""
	s.Revoked, s.Relink, s.StrayOf = false, false, plex.Account{}
	s.Server, s.Unproven, s.Adopted, s.RefusedSince = server{}, false, false, time.Time{}
	return s
}

// provenAt returns when the token was last proven.
func (s state) provenAt() time.Time {
	if s.LastRefresh.After(s.LastPing) {
		return s.LastRefresh
	}
	return s.LastPing
}

// check returns an error if the state breaks an invariant of the transitions. The error contains no value.
func (s state) check() error {
	for _, rule := range []struct {
		holds bool
		text  string
	}{
		{s.ClientIdentifier != "", "it has no client identifier"},
		{(s.PINID == "") == (s.PIN == openPIN{}), "it has half a PIN"},
		{!s.pinOpen() || s.Unentered > 0, "an open PIN is not counted"},
		{!s.pinOpen() || s.PendingToken == "", "it has an open PIN besides a pending token"},
		{!s.pinOpen() || s.StrayToken == "", "it has an open PIN besides a token to sign out"},
		{s.Token != "" || !s.Revoked && !s.Relink && !s.Unproven && !s.Adopted, "it describes a missing token"},
		{s.Server == (server{}) || s.Token != "", "it has a server without a token"},
		{s.StrayToken != "" || s.StrayOf == plex.Account{}, "it has the account of a missing token"},
		{s.Problem.Definite || !s.Problem.Confirmed, "an indefinite problem is confirmed"},
		{s.Unentered >= 0 && s.Unentered <= maxUnentered, "the count of PINs is out of range"},
	} {
		if !rule.holds {
			return errors.New(rule.text)
		}
	}
	return nil
}

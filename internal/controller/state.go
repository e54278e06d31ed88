package controller

import (
	"errors"
	"time"

	"plexlink.dev/operator/internal/plex"
)

// maxUnentered is how many PINs in a row are minted for a link whose PINs are not entered: two hours, at 15 minutes each.
const maxUnentered = 8

// state is what a link is: everything that decides what the operator does next, and nothing else does. It is stored in
// the device Secret before what follows from it is shown or done. Only the transitions below change it.
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
	// PendingToken was received while spec.account was set; whose it is is not known yet.
	PendingToken plex.Sensitive `json:"-"`
	// StrayToken is to be signed out: of an account that spec.account does not ask for, or replaced by a newer one.
	StrayToken plex.Sensitive `json:"-"`

	// StrayOf is the account of a replaced token. Once the account of Token is known to be the same, nothing is to be
	// signed out: the newer token has invalidated the older one.
	StrayOf plex.Account `json:"strayOf,omitzero"`
	// PIN that is open.
	PIN openPIN `json:"pin,omitzero"`
	// Unentered counts the PINs in a row that did not lead to a token, the open one included.
	Unentered int `json:"unentered,omitempty"`
	// WaitingSince orders the links that wait for a PIN; zero: since their creation.
	WaitingSince time.Time `json:"waitingSince,omitzero"`
	// LinkRequest and RefreshRequest are the values of the annotations that were acted on last.
	LinkRequest    string `json:"linkRequest,omitempty"`
	RefreshRequest string `json:"refreshRequest,omitempty"`
	// Relink means that a new PIN is asked for although the token works.
	Relink bool `json:"relink,omitempty"`
	// Revoked means that plex.tv has called the token invalid.
	Revoked bool `json:"revoked,omitempty"`
	// Adopted means that the token was taken over from an earlier link, and its account is not known yet.
	Adopted bool `json:"adopted,omitempty"`
	// Stranger is the account that entered the last PIN and is not the one that spec.account asks for.
	Stranger string `json:"stranger,omitempty"`
	// Import identifies the Secret that was tried to import from, and ImportProblem tells why its token was refused.
	Import        string `json:"import,omitempty"`
	ImportProblem string `json:"importProblem,omitempty"`
	// Account that Token belongs to; zero: not known yet.
	Account plex.Account `json:"account,omitzero"`
	// Server with the address that is in the Secret.
	Server server `json:"server,omitzero"`
	// Unproven means that the token is newer than the proof of Server.
	Unproven bool `json:"unproven,omitempty"`
	// Problem is what the last check of the server found wrong; zero: nothing.
	Problem serverProblem `json:"problem,omitzero"`
	// FailingSince is when the first check failed after the last that succeeded.
	FailingSince time.Time `json:"failingSince,omitzero"`
	// Doubted is when the address in use was first found not to answer while a worse one did.
	Doubted time.Time `json:"doubted,omitzero"`
	// RefusedSince is since when plex.tv has refused the token without calling it invalid.
	RefusedSince time.Time `json:"refusedSince,omitzero"`
	// Servers that the account can use, sorted.
	Servers []serverChoice `json:"servers,omitempty"`
	// LastRefresh is when token and address were last found to work; LastPing is when the token was last prolonged.
	LastRefresh time.Time `json:"lastRefresh,omitzero"`
	LastPing    time.Time `json:"lastPing,omitzero"`
}

// openPIN is what a person needs to enter a PIN. Its id is secret and not part of it.
type openPIN struct {
	Code           string    `json:"code"`
	QRURL          string    `json:"qrURL,omitempty"`
	ExpirationTime time.Time `json:"expirationTime"`
	// Refused is why plex.tv did not accept it from the link of spec.account.linkRef, so that a person has to enter it.
	Refused string `json:"refused,omitempty"`
}

// newState returns the state of a link that has nothing but an identity. A request for a new PIN that is set already is
// met by the first one.
func newState(identifier plex.Sensitive, linkRequest string) state {
	return state{ClientIdentifier: identifier, LinkRequest: linkRequest}
}

// adopted returns what a new link takes over from the state of an earlier one: a token, to be proven anew. Without a token
// it takes nothing: anyone who planted an open PIN, or an identifier, could collect the token of the person who enters it.
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

// settled reports whether token and address are proven for the given spec.server.
func (s state) settled(spec string) bool {
	return s.authorized() && !s.Unproven && s.Server != (server{}) && s.Server.Spec == spec &&
		(s.Problem == (serverProblem{}) || s.Problem.Spec == spec)
}

// linkRequested notes that a person has asked for a new PIN. One that is open already will do.
func (s state) linkRequested(value string, now time.Time) state {
	s.LinkRequest = value
	s.Unentered = 0
	if s.pinOpen() {
		s.Unentered = 1
	}
	s.Relink = s.authorized()
	s.WaitingSince = now
	return s
}

// relinkDropped notes that all PINs expired while the token still works: it is not asked for any longer.
func (s state) relinkDropped() state {
	s.Relink = false
	return s
}

// pinMinted notes a new PIN. It must be stored before the PIN is shown.
func (s state) pinMinted(pin plex.PIN, now time.Time) state {
	s.PINID = pin.ID
	s.PIN = openPIN{Code: pin.Code, QRURL: pin.QRURL, ExpirationTime: now.Add(pin.ExpiresIn).Truncate(time.Second).UTC()}
	s.Unentered++
	return s
}

// claimRefused notes why plex.tv does not let the operator enter the PIN. It must be stored before the PIN is shown.
func (s state) claimRefused(why string) state {
	s.PIN.Refused = why
	return s
}

// pinGone notes that the PIN expired.
func (s state) pinGone(now time.Time) state {
	s.PIN, s.PINID = openPIN{}, ""
	s.WaitingSince = now
	return s
}

// tokenReceived notes the token of an entered PIN. It must be stored before anything else is done: the PIN shows it for
// ten seconds only.
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

// tokenPending notes the token of an entered PIN while it is not known whether its account may enter it.
func (s state) tokenPending(token plex.Sensitive) state {
	s.PIN, s.PINID = openPIN{}, ""
	s.PendingToken = token
	return s
}

// accountAccepted makes the pending token that of the link.
func (s state) accountAccepted(account plex.Account, now time.Time) state {
	return s.tokenReceived(s.PendingToken, now).accountKnown(account)
}

// strangerEntered notes that the pending token belongs to an account that spec.account does not ask for.
func (s state) strangerEntered(account plex.Account, now time.Time) state {
	s.StrayToken, s.StrayOf, s.PendingToken = s.PendingToken, plex.Account{}, ""
	s.Stranger = account.Username
	if s.Stranger == "" {
		s.Stranger = account.UUID
	}
	s.WaitingSince = now
	return s
}

// pendingInvalid notes that plex.tv calls the pending token invalid.
func (s state) pendingInvalid(now time.Time) state {
	s.PendingToken = ""
	s.WaitingSince = now
	return s
}

// strayGone notes that the stray token is signed out, or given up.
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

// importRefused notes that the token of spec.device.importSecretRef cannot be used. A PIN is offered.
func (s state) importRefused(secret, problem string) state {
	s.Import, s.ImportProblem = secret, problem
	return s
}

// accountKnown notes whose token it is.
func (s state) accountKnown(account plex.Account) state {
	s.Account, s.Adopted = account, false
	if s.StrayOf != (plex.Account{}) && s.StrayOf == account {
		return s.strayGone()
	}
	return s
}

// tokenRevoked notes that plex.tv has called the token invalid. Server and Secret stay until there is a new token.
func (s state) tokenRevoked(now time.Time) state {
	s.Revoked, s.Relink = true, false
	s.Unentered, s.RefusedSince = 0, time.Time{}
	s.WaitingSince = now
	return s
}

// pinged notes that the token was prolonged.
func (s state) pinged(now time.Time) state {
	s.LastPing, s.RefusedSince = now, time.Time{}
	return s
}

// refreshHandled notes that the check that a person asked for has been made.
func (s state) refreshHandled(value string) state {
	s.RefreshRequest = value
	return s
}

// signedOut notes that the tokens are invalid at plex.tv.
func (s state) signedOut() state {
	s.Token, s.PendingToken, s.StrayToken, s.ServerToken = "", "", "", ""
	s.PIN, s.PINID = openPIN{}, ""
	s.Revoked, s.Relink, s.StrayOf = false, false, plex.Account{}
	s.Server, s.Unproven, s.Adopted, s.RefusedSince = server{}, false, false, time.Time{}
	return s
}

// provenAt is when the token was last found to work.
func (s state) provenAt() time.Time {
	if s.LastRefresh.After(s.LastPing) {
		return s.LastRefresh
	}
	return s.LastPing
}

// check returns an error when the state breaks a rule that every transition keeps. It shows no value.
func (s state) check() error {
	for _, rule := range []struct {
		holds bool
		text  string
	}{
		{s.ClientIdentifier != "", "it has no client identifier"},
		{(s.PINID == "") == (s.PIN == openPIN{}), "it has half a PIN"},
		{!s.pinOpen() || s.Unentered > 0, "an open PIN is not counted"},
		{!s.pinOpen() || s.PendingToken == "", "it has an open PIN beside a token that is pending"},
		{!s.pinOpen() || s.StrayToken == "", "it has an open PIN beside a token that is to be signed out"},
		{s.Token != "" || !s.Revoked && !s.Relink && !s.Unproven && !s.Adopted, "it describes a token that it does not have"},
		{s.Server == (server{}) || s.Token != "", "it has a server without a token"},
		{s.StrayToken != "" || s.StrayOf == plex.Account{}, "it has the account of a token that it does not have"},
		{s.Problem.Definite || !s.Problem.Confirmed, "a problem is confirmed that is not definite"},
		{s.Unentered >= 0 && s.Unentered <= maxUnentered, "the count of PINs is out of range"},
	} {
		if !rule.holds {
			return errors.New(rule.text)
		}
	}
	return nil
}

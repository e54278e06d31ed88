package plextest

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"strings"
)

var (
	//go:embed page.html
	pageStyle string
	//go:embed link.html
	linkHTML string

	linkTemplate = template.Must(template.New("link").Parse(pageStyle + linkHTML))
)

// linkView is what the link page shows.
type linkView struct {
	Accounts []*Account
	Account  string // chosen username
	Code     string
	Linked   *PIN   // the PIN that has just been accepted
	Error    string // why it was not
}

func (s *Simulator) showLinkPage(c *call) answer {
	return s.linkPage(http.StatusOK, linkView{Code: c.parameters.Get("pin")})
}

func (s *Simulator) submitLinkPage(c *call) answer {
	view := linkView{Code: strings.TrimSpace(c.parameters.Get("pin")), Account: c.parameters.Get("account")}
	account := s.account(view.Account)
	switch {
	case account == nil:
		view.Error = "Choose the account that the device shall be linked to."
	case view.Code == "":
		view.Error = "Enter the PIN that your device shows."
	default:
		pin, err := s.enter(view.Code, account)
		if err != nil {
			view.Error = "This PIN was not accepted: it is mistyped, has expired or was used before. " +
				"It has 4 characters. If it is the one your device shows, ask the device for a new one."
			break
		}
		return s.linkPage(http.StatusOK, linkView{Account: view.Account, Linked: &pin})
	}
	return s.linkPage(http.StatusUnprocessableEntity, view)
}

func (s *Simulator) account(username string) *Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.accounts {
		if a.Username == username {
			return a
		}
	}
	return nil
}

func (s *Simulator) linkPage(status int, view linkView) answer {
	s.mu.Lock()
	view.Accounts = s.accounts
	s.mu.Unlock()
	return page(status, linkTemplate, view)
}

// page is an HTML page that loads nothing.
func page(status int, t *template.Template, view any) answer {
	var b bytes.Buffer
	if err := t.Execute(&b, view); err != nil {
		panic(err)
	}
	return answer{status: status, body: b.Bytes(), header: http.Header{
		"Content-Type":            {"text/html; charset=utf-8"},
		"Content-Security-Policy": {"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'"},
		"Cache-Control":           {"no-store"},
	}}
}

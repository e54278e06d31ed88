package plextest

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// object is sent as a JSON object or as an XML element, with its fields in order.
type object struct {
	tag    string // the element's name in XML
	fields []field
}

// field holds nil, a string, a bool, an int, an object or a list. In XML the first four are attributes.
type field struct {
	key   string
	value any
}

// list is an array in JSON; in XML its items stand inside an element named after the field, or bare.
type list struct {
	items []object
	bare  bool
}

// MarshalJSON implements json.Marshaler.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range o.fields {
		if i > 0 {
			b.WriteByte(',')
		}
		value, err := json.Marshal(f.value)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%q:%s", f.key, value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// MarshalJSON implements json.Marshaler.
func (l list) MarshalJSON() ([]byte, error) {
	if len(l.items) == 0 {
		return []byte("[]"), nil
	}
	return json.Marshal(l.items)
}

func (o object) writeXML(b *bytes.Buffer) {
	var children bytes.Buffer
	fmt.Fprintf(b, "<%s", o.tag)
	for _, f := range o.fields {
		switch v := f.value.(type) {
		case object:
			v.writeXML(&children)
		case list:
			v.writeXML(&children, f.key)
		default:
			fmt.Fprintf(b, ` %s="`, f.key)
			_ = xml.EscapeText(b, []byte(attribute(v)))
			b.WriteByte('"')
		}
	}
	if children.Len() == 0 {
		b.WriteString("/>")
		return
	}
	fmt.Fprintf(b, ">%s</%s>", &children, o.tag)
}

func (l list) writeXML(b *bytes.Buffer, wrapper string) {
	if !l.bare {
		fmt.Fprintf(b, "<%s>", wrapper)
		defer fmt.Fprintf(b, "</%s>", wrapper)
	}
	for _, o := range l.items {
		o.writeXML(b)
	}
}

// attribute returns a value in XML form: null is empty and a bool is 0 or 1.
func attribute(v any) string {
	switch v {
	case nil:
		return ""
	case true:
		return "1"
	case false:
		return "0"
	}
	return fmt.Sprint(v)
}

// reply answers with an object in the requested form.
func (c *call) reply(status int, o object) answer {
	return c.encode(status, o, o.writeXML)
}

// replyWrapped answers with {"TAG": object} in JSON and with <TAG> in XML.
func (c *call) replyWrapped(status int, o object) answer {
	return c.encode(status, map[string]object{o.tag: o}, o.writeXML)
}

// replyList answers with a bare array in JSON and with the items inside <wrapper> in XML.
func (c *call) replyList(status int, l list, wrapper string) answer {
	return c.encode(status, l, func(b *bytes.Buffer) { l.writeXML(b, wrapper) })
}

// encode answers with v in JSON if that was requested, else with what writeXML writes.
func (c *call) encode(status int, v any, writeXML func(*bytes.Buffer)) answer {
	var b bytes.Buffer
	contentType := "application/xml; charset=utf-8"
	if c.json {
		contentType = "application/json; charset=utf-8"
		if err := json.NewEncoder(&b).Encode(v); err != nil {
			panic(err)
		}
	} else {
		b.WriteString(xml.Header)
		writeXML(&b)
	}
	return answer{status: status, header: http.Header{"Content-Type": {contentType}}, body: b.Bytes()}
}

// Codes of plex.tv's errors.
const (
	codeNoClientIdentifier = 1000
	codeInvalidToken       = 1001
	codeNotFound           = 1002
	codeRateLimit          = 1003
	codeMethod             = 1005
	codePINNotFound        = 1020
	codeBlocked            = 1031
)

var errorMessages = map[int]string{
	codeNoClientIdentifier: "X-Plex-Client-Identifier is missing",
	codeInvalidToken:       "User could not be authenticated",
	codeRateLimit:          "API rate limit exceeded",
	codePINNotFound:        "Code not found or expired",
	codeMethod:             "Method not allowed",
	codeBlocked:            "Too many failed sign-in attempts from this address",
}

// plexError answers with plex.tv's usual error body.
func (c *call) plexError(status, code int) answer {
	message, ok := errorMessages[code]
	if !ok {
		message = http.StatusText(status)
	}
	errors := list{items: []object{{"error", []field{{"code", code}, {"message", message}, {"status", status}}}}}
	return c.encode(status, map[string]list{"errors": errors}, func(b *bytes.Buffer) { errors.writeXML(b, "errors") })
}

// refuse returns a handler that always answers with an error.
func refuse(status, code int) handler {
	return func(c *call) answer { return c.plexError(status, code) }
}

// htmlPage is the error page of a proxy in front of plex.tv, or of a media server.
func htmlPage(status int) answer {
	title := fmt.Sprint(status, " ", http.StatusText(status))
	return answer{
		status: status,
		header: http.Header{"Content-Type": {"text/html; charset=utf-8"}},
		body:   []byte(strings.ReplaceAll("<html><head><title>T</title></head><body><h1>T</h1></body></html>\n", "T", title)),
	}
}

// timestamp formats a time as plex.tv does.
func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

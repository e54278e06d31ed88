package plex

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Sensitive is a token, a PIN id or a client identifier. Formatting, marshaling or logging one shows "[redacted]"; only
// [Sensitive.Reveal] returns its value. Keep it in exported fields and never use it as the key of a map: fmt prints
// unexported fields, and encoding/json keys, without calling their methods.
type Sensitive string

// Reveal returns the value, to be sent in a header or stored in a Secret.
func (s Sensitive) Reveal() string { return string(s) }

// String returns "[redacted]".
func (Sensitive) String() string { return redacted }

// GoString returns "[redacted]".
func (Sensitive) GoString() string { return redacted }

// Format writes "[redacted]" for every verb: %x and %q would print the bytes otherwise.
func (Sensitive) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalJSON returns "[redacted]" as a JSON string.
func (Sensitive) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText returns "[redacted]", for example in XML.
func (Sensitive) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue returns "[redacted]".
func (Sensitive) LogValue() slog.Value { return slog.StringValue(redacted) }

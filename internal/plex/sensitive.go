package plex

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Sensitive is a token, a PIN id or a client identifier. Formatting, marshalling or logging one shows "[redacted]";
// [Sensitive.Reveal] is the only way out. Keep it in exported fields, and never as the key of a map: fmt prints
// unexported fields, and encoding/json a map's keys, without asking them.
type Sensitive string

// Reveal returns the value itself, to be sent in a header or stored in a Secret.
func (s Sensitive) Reveal() string { return string(s) }

// String returns "[redacted]".
func (Sensitive) String() string { return redacted }

// GoString returns "[redacted]".
func (Sensitive) GoString() string { return redacted }

// Format writes "[redacted]" whatever the verb: %x and %q would print the bytes otherwise.
func (Sensitive) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalJSON returns "[redacted]" as a JSON string.
func (Sensitive) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText returns "[redacted]", in XML for instance.
func (Sensitive) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue returns "[redacted]".
func (Sensitive) LogValue() slog.Value { return slog.StringValue(redacted) }

package template

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	texttemplate "text/template"
	"unicode"

	"sigs.k8s.io/yaml"
)

const (
	// maxValue bounds every value, intermediate ones included, so that no chain of functions grows without bound.
	maxValue = 256 << 10
	// maxWork bounds what all functions of one Secret read and write together, in bytes: a fraction of a second even with the
	// slowest, toYaml.
	maxWork = 4 << 20
)

var errTooLarge = fmt.Errorf("the value is larger than %d KiB: shorten it", maxValue>>10)

// functionNames are our own functions, which the API's comment on data documents.
var functionNames = slices.Sorted(maps.Keys(newFunctions()))

// newFunctions returns the functions for the templates of one Secret, which share maxWork. Most have the names and the order
// of arguments that they have in Helm.
func newFunctions() texttemplate.FuncMap {
	m := &meter{}
	return texttemplate.FuncMap{
		"default": func(fallback, v any) any {
			if truth, _ := texttemplate.IsTrue(v); truth {
				return v
			}
			return fallback
		},
		"lower":      m.text(strings.ToLower),
		"upper":      m.text(strings.ToUpper),
		"b64enc":     m.text(func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }),
		"urlquery":   m.text(url.QueryEscape),
		"trimPrefix": m.trim(strings.TrimPrefix),
		"trimSuffix": m.trim(strings.TrimSuffix),
		"list":       func(items ...string) ([]string, error) { return items, m.spend(items...) },
		"join": func(separator string, items []string) (string, error) {
			if err := m.spend(append(slices.Repeat([]string{separator}, len(items)), items...)...); err != nil {
				return "", err
			}
			return strings.Join(items, separator), nil
		},
		"replace": func(old, replacement, s string) (string, error) {
			if len(s)+strings.Count(s, old)*len(replacement) > maxValue {
				return "", errTooLarge
			}
			return m.written(strings.ReplaceAll(s, old, replacement), m.spend(s))
		},
		"toJson": m.encode(toJSON),
		"toYaml": m.encode(toYAML),
		"onOff": func(b bool) string {
			if b {
				return "on"
			}
			return "off"
		},
	}
}

// meter adds up what functions read and write.
type meter struct{ work int }

func (m *meter) spend(texts ...string) error {
	size := 0
	for _, text := range texts {
		size += len(text)
	}
	if m.work += 64 + size; m.work > maxWork {
		return fmt.Errorf("the functions of all keys process more than %d MiB: use fewer functions or shorter texts", maxWork>>20)
	}
	if size > maxValue {
		return errTooLarge
	}
	return nil
}

func (m *meter) written(out string, err error) (string, error) {
	return out, errors.Join(err, m.spend(out))
}

func (m *meter) text(f func(string) string) func(string) (string, error) {
	return func(s string) (string, error) {
		if err := m.spend(s); err != nil {
			return "", err
		}
		return m.written(f(s), nil)
	}
}

// trim swaps the arguments: in a pipeline the text comes last.
func (m *meter) trim(f func(s, part string) string) func(part, s string) (string, error) {
	return func(part, s string) (string, error) { return f(s, part), m.spend(part, s) }
}

func (m *meter) encode(f func(any) (string, error)) func(any) (string, error) {
	return func(v any) (string, error) {
		texts, ok := v.([]string)
		if s, isText := v.(string); isText {
			texts, ok = []string{s}, true
		}
		if err := m.spend(texts...); ok && err != nil {
			return "", err
		}
		return m.written(f(v))
	}
}

// toJSON also escapes unprintable characters: YAML readers reject them or treat them as line breaks, even in quotes.
func toJSON(v any) (string, error) {
	encoded, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, r := range string(encoded) {
		if r > '~' && r <= 0xffff && !unicode.IsPrint(r) {
			_, _ = fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String(), nil
}

// toYAML writes one line. Values that need several lines, or escapes, are written as JSON, which is valid YAML: further
// lines would not be indented as the place in the file requires.
func toYAML(v any) (string, error) {
	encoded, err := toJSON(v)
	if err != nil || strings.Contains(encoded, `\`) {
		return encoded, err
	}
	out, err := yaml.Marshal(v)
	if line := strings.TrimSuffix(string(out), "\n"); err == nil && !strings.Contains(line, "\n") {
		return line, nil
	}
	return encoded, nil
}

// Package template renders the data of a Secret from the templates in spec.secret.template and the values of a link. It
// bounds the time and the memory that a template can take, and its errors never show a value.
package template

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	texttemplate "text/template"
)

// maxSecret bounds all keys and values together. Kubernetes stores 1 MiB for a whole Secret, metadata included.
const maxSecret = 1000 << 10

// oneAtATime is held from parsing a template until its tree is dropped. A tree takes up to a hundred times the memory of its
// text, 15 MB for the largest templates: with one in each worker the manager took 187 MiB, one after the other 74. Each holds
// it for about a tenth of a second.
var oneAtATime sync.Mutex

// Error describes a mistake in spec.secret.template.data, with its key and line. It contains no value.
type Error struct {
	// Key is empty when the mistake is not in a single key.
	Key string
	// Problem is one line that says what is wrong and what to do.
	Problem string
}

func (e *Error) Error() string {
	if e.Key == "" {
		return "spec.secret.template: " + e.Problem
	}
	return fmt.Sprintf("spec.secret.template.data[%s]: %s", e.Key, e.Problem)
}

// Default returns the templates of a link that has none.
func Default() map[string]string {
	return map[string]string{"PLEX_URL": "{{ .URL }}", "PLEX_TOKEN": "{{ .Token }}"}
}

// Check finds the mistakes that show before there is a link. The error is an *Error. Without texts it checks the default.
func Check(texts map[string]string) error {
	oneAtATime.Lock()
	defer oneAtATime.Unlock()
	p, err := compile(texts)
	if err != nil {
		return err
	}
	for _, v := range examples() {
		if _, err := p.execute(v); err != nil {
			return err
		}
	}
	return nil
}

// Render returns the data of the Secret. The error is an *Error. Without texts it renders the default.
func Render(texts map[string]string, v Values) (map[string][]byte, error) {
	oneAtATime.Lock()
	defer oneAtATime.Unlock()
	p, err := compile(texts)
	if err != nil {
		return nil, err
	}
	return p.execute(v)
}

// UsesAccount reports whether the templates use the name or the id of the account, which take a request of their own.
func UsesAccount(texts map[string]string) bool {
	oneAtATime.Lock()
	defer oneAtATime.Unlock()
	p, err := compile(texts)
	return err == nil && (p.uses["Account"] || p.uses[allValues])
}

// execute ends soon whatever the templates say: compile has left no loops in them and no templates that call each other,
// and functions and output are bounded.
func (p *program) execute(v Values) (map[string][]byte, error) {
	data, total, functions := map[string][]byte{}, 0, newFunctions()
	for _, key := range slices.Sorted(maps.Keys(p.trees)) {
		functions[guardName] = guardOf(key)
		executable, err := texttemplate.New(treeName).Funcs(functions).AddParseTree(treeName, p.trees[key])
		if err != nil {
			return nil, &Error{key, explain(err)}
		}
		var out boundedBuilder
		if err := executable.Execute(&out, values(v)); err != nil {
			return nil, &Error{key, explain(err)}
		}
		if total += len(key) + out.Len(); total > maxSecret {
			return nil, &Error{key, fmt.Sprintf(
				"the Secret is larger than %d KiB with this key, more than Kubernetes stores: shorten the values", maxSecret>>10)}
		}
		data[key] = []byte(out.String())
	}
	return data, nil
}

// boundedBuilder is a strings.Builder that refuses to grow beyond maxValue.
type boundedBuilder struct{ strings.Builder }

func (b *boundedBuilder) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxValue {
		return 0, errTooLarge
	}
	return b.Builder.Write(p)
}

package template

import (
	"errors"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// seeExplain refers to the list of values and functions.
const seeExplain = "; see kubectl explain plexlink.spec.secret.template.data"

var (
	location     = regexp.MustCompile(`^template: ` + treeName + `:(\d+)(:\d+)?:\s*`)
	executing    = regexp.MustCompile(`(?s)^executing "` + treeName + `" at (<.*?>): `)
	errorCalling = regexp.MustCompile(`^error calling (\w+): `)
	unknownField = regexp.MustCompile(`^can't evaluate field (\w+) in type .*$`)
	// The template library quotes the values that it could not compare. They must not appear in an error.
	notComparable = regexp.MustCompile(`(?s)non-comparable types? .*$`)
)

// explain turns an error of the template library into one line for the author of the template.
func explain(err error) string {
	text, line := err.Error(), ""
	if m := location.FindStringSubmatch(text); m != nil {
		line, text = "line "+m[1]+": ", strings.TrimPrefix(text, m[0])
	}
	if unprintable, ok := errors.AsType[unprintableError](err); ok {
		return line + unprintable.Error()
	}
	if m := executing.FindStringSubmatch(text); m != nil {
		line, text = line+clip(m[1], 60)+": ", strings.TrimPrefix(text, m[0])
	}
	text = errorCalling.ReplaceAllString(text, "$1: ")
	text = notComparable.ReplaceAllString(text, "a list cannot be compared")
	text = unknownField.ReplaceAllString(text, "there is no value $1"+seeExplain)
	return line + clip(text, 200)
}

// clip shortens a text to size bytes, and replaces line breaks and other unprintable characters.
func clip(text string, size int) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	if len(text) <= size {
		return text
	}
	const mark = " …"
	size -= len(mark)
	for !utf8.RuneStart(text[size]) {
		size--
	}
	return text[:size] + mark
}

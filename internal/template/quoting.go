package template

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"text/template/parse"
)

// guardName is the function that every printed value passes. Templates cannot call it: it is not in functionNames.
const guardName = "guard"

// structured are the extensions of files where names must be quoted, and where toJson quotes them.
var structured = []string{".yaml", ".yml", ".json", ".toml"}

// harmless is text that stays one value in YAML, JSON and TOML, within quotes and, except in TOML, without them: URLs,
// tokens, identifiers, numbers.
var harmless = regexp.MustCompile(`^([A-Za-z0-9_./~+=%:\[\]-]*[A-Za-z0-9_./~+=%\]-])?$`)

// unprintableError explains why a value must not be printed. It does not contain the value.
type unprintableError string

func (e unprintableError) Error() string { return string(e) }

// guard makes the value of an action pass guardName, except those that toJson or toYaml has quoted. The owner of a
// server chooses its name, which must not add settings to the file of an app.
func guard(n *parse.ActionNode) {
	if _, constant := n.Pipe.Cmds[0].Args[0].(*parse.StringNode); constant && len(n.Pipe.Cmds) == 1 {
		return // The author's own text, such as {{ "{{" }}.
	}
	last := n.Pipe.Cmds[len(n.Pipe.Cmds)-1]
	function, _ := last.Args[0].(*parse.IdentifierNode)
	if len(n.Pipe.Decl) > 0 || function != nil && slices.Contains([]string{"toJson", "toYaml"}, function.Ident) {
		return
	}
	source := n.Pipe.String()
	n.Pipe.Cmds = append(n.Pipe.Cmds, &parse.CommandNode{NodeType: parse.NodeCommand, Pos: n.Pos, Args: []parse.Node{
		parse.NewIdentifier(guardName).SetPos(n.Pos),
		&parse.StringNode{NodeType: parse.NodeString, Pos: n.Pos, Quoted: strconv.Quote(source), Text: source},
	}})
}

// guardOf returns the function behind guardName for one key. It passes the value on, unless that would write a struct
// with all its secrets in Go's syntax, or break a structured file.
func guardOf(key string) func(pipeline string, v any) (any, error) {
	quoting := slices.Contains(structured, path.Ext(key))
	return func(pipeline string, v any) (any, error) {
		pipeline = clip(pipeline, 100)
		switch v.(type) {
		case values, Server, Account:
			return nil, unprintableError(fmt.Sprintf(
				"{{ %s }} holds several values: name the one you need, such as {{ .URL }} or {{ .Server.Name }}", pipeline))
		}
		if quoting && !harmless.MatchString(fmt.Sprint(v)) {
			return nil, unprintableError(fmt.Sprintf(
				"quotes or line breaks in {{ %s }} would break the file: write {{ %s | toJson }}, without quotes around it", pipeline, pipeline))
		}
		return v, nil
	}
}

package controller

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"text/template/parse"
)

// isStructured says that the value of a key is a file of a kind where names must be quoted, and where toJson quotes
// them.
func isStructured(key string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".json", ".toml"}, path.Ext(key))
}

// requirePlain is the name under which templates of structured files call plain. People cannot call it.
const requirePlain = "plain"

// harmless is text that stays one value in YAML, JSON and TOML, within quotes and, but for TOML, without them: URLs,
// tokens, identifiers, numbers.
var harmless = regexp.MustCompile(`^([A-Za-z0-9_./~+=%:\[\]-]*[A-Za-z0-9_./~+=%\]-])?$`)

// unquotedError says that a value would break the file that it is put into. It does not show the value.
type unquotedError struct{ pipeline string }

func (e *unquotedError) Error() string {
	pipeline := clip(e.pipeline)
	return fmt.Sprintf("quotes or line breaks in {{ %s }} would break the file: write {{ %s | toJson }}, without quotes around it",
		pipeline, pipeline)
}

// plain passes a value that is put into a structured file as it is, if it cannot break it.
func plain(pipeline string, v any) (any, error) {
	if !harmless.MatchString(fmt.Sprint(v)) {
		return nil, &unquotedError{pipeline}
	}
	return v, nil
}

// requirePlainText makes every value that is put into a structured file pass plain, but those that toJson or toYaml has
// quoted. The server's name is chosen by whoever owns it: it must not add settings to the file of an app.
func requirePlainText(node parse.Node) {
	switch n := node.(type) {
	case *parse.ListNode:
		if n == nil {
			return
		}
		for _, each := range n.Nodes {
			requirePlainText(each)
		}
	case *parse.IfNode:
		requirePlainText(n.List)
		requirePlainText(n.ElseList)
	case *parse.WithNode:
		requirePlainText(n.List)
		requirePlainText(n.ElseList)
	case *parse.ActionNode:
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
			parse.NewIdentifier(requirePlain).SetPos(n.Pos),
			&parse.StringNode{NodeType: parse.NodeString, Pos: n.Pos, Quoted: fmt.Sprintf("%q", source), Text: source},
		}})
	}
}

package template

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template/parse"
)

const (
	// maxTexts bounds all keys and templates together, in bytes: a parsed template takes many times the memory of its text.
	maxTexts = 128 << 10
	// maxActions bounds the actions of all keys together, conditions included. The recipes have fewer than ten.
	maxActions = 2000
	// treeName is the name of each template while it is parsed and executed. Errors show it before the line number.
	treeName = "line"
	// allValues is the name in program.uses for a use of all values at once.
	allValues = "."
)

// allowed are the built-in functions of Go templates that stay: none of them can make a value grow.
var allowed = []string{"and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len"}

// program is the parsed template of one Secret.
type program struct {
	trees   map[string]*parse.Tree // one for each key of the Secret
	uses    map[string]bool        // the fields of Values in use
	actions int
}

// compile parses the templates and refuses those that could run long, grow without bound or use no value. The error is an
// *Error.
func compile(texts map[string]string) (*program, error) {
	if len(texts) == 0 {
		texts = Default()
	}
	size := 0
	for key, text := range texts {
		size += len(key) + len(text)
	}
	if size > maxTexts {
		return nil, &Error{Problem: fmt.Sprintf(
			"data has %d bytes in keys and templates, at most %d are allowed: move text that uses no values to a ConfigMap", size, maxTexts)}
	}
	p := &program{trees: map[string]*parse.Tree{}, uses: map[string]bool{}}
	for _, key := range slices.Sorted(maps.Keys(texts)) {
		if problem := p.add(key, texts[key]); problem != "" {
			return nil, &Error{key, problem}
		}
		if p.actions > maxActions {
			return nil, &Error{Problem: fmt.Sprintf("data has more than %d actions {{ … }} in all keys together: use fewer", maxActions)}
		}
	}
	if len(p.uses) == 0 { // Helm's tpl, for example, has rendered the template already.
		return nil, &Error{Problem: `data uses no value of the link; in a Helm chart write {{ "{{ .URL }}" }}`}
	}
	return p, nil
}

// add parses the template of one key, and returns the problem with it.
func (p *program) add(key, text string) (problem string) {
	tree, defined := parse.New(treeName), map[string]*parse.Tree{}
	tree.Mode = parse.SkipFuncCheck // inspector checks them
	if _, err := tree.Parse(text, "", "", defined); err != nil {
		return explain(err)
	}
	i := inspector{program: p, text: text}
	for _, each := range defined {
		if each != tree {
			i.refuse(each.Root, noTemplates)
		}
	}
	i.visit(tree.Root, false)
	p.trees[key] = tree
	return i.problem
}

const noTemplates = "template, define and block are not available"

// inspector walks the template of one key. It counts actions, records the values in use, guards what is printed, and
// refuses what could run long or grow without bound.
type inspector struct {
	*program
	text    string
	problem string    // the first one in the text
	at      parse.Pos // of problem
}

func (i *inspector) refuse(node parse.Node, what string) {
	if at := node.Position(); i.problem == "" || at < i.at {
		i.at, i.problem = at, fmt.Sprintf("line %d: %s", strings.Count(i.text[:at], "\n")+1, what)
	}
}

// visit inspects a node and its children. Inside with, the dot is not all values, but the result of the pipeline of with.
func (i *inspector) visit(node parse.Node, insideWith bool) {
	switch n := node.(type) {
	case *parse.ListNode:
		if n != nil {
			for _, each := range n.Nodes {
				i.visit(each, insideWith)
			}
		}
	case *parse.ActionNode:
		i.actions++
		i.visit(n.Pipe, insideWith)
		guard(n)
	case *parse.IfNode:
		i.actions++
		i.visit(n.Pipe, insideWith)
		i.visit(n.List, insideWith)
		i.visit(n.ElseList, insideWith)
	case *parse.WithNode:
		i.actions++
		i.visit(n.Pipe, insideWith)
		i.visit(n.List, true)
		i.visit(n.ElseList, insideWith)
	case *parse.RangeNode:
		i.refuse(n, "range is not available, because no value is a list")
	case *parse.TemplateNode:
		i.refuse(n, noTemplates)
	case *parse.PipeNode:
		for _, command := range n.Cmds {
			for _, arg := range command.Args {
				i.visit(arg, insideWith)
			}
		}
	case *parse.ChainNode:
		i.visit(n.Node, insideWith)
	case *parse.IdentifierNode:
		if !slices.Contains(functionNames, n.Ident) && !slices.Contains(allowed, n.Ident) {
			i.refuse(n, clip("there is no function "+n.Ident, 100)+seeExplain)
		}
	case *parse.FieldNode:
		if !insideWith {
			i.uses[n.Ident[0]] = true
		}
	case *parse.DotNode:
		if !insideWith {
			i.uses[allValues] = true
		}
	case *parse.VariableNode:
		switch {
		case n.Ident[0] != "$": // A variable: the values in its declaration are counted there.
		case len(n.Ident) == 1:
			i.uses[allValues] = true
		default:
			i.uses[n.Ident[1]] = true
		}
	}
}

// Command chartdocs writes the table of a chart's values behind the line "## Values" of its README, from the comments that
// begin with "# --" in values.yaml.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

const heading = "## Values\n"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: chartdocs CHART")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "chartdocs:", err)
		os.Exit(1)
	}
}

func run(chart string) error {
	text, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return err
	}
	var values yaml.Node
	if err := yaml.Unmarshal(text, &values); err != nil {
		return err
	}
	file := filepath.Join(chart, "README.md")
	readme, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, _, found := bytes.Cut(readme, []byte(heading))
	if !found {
		return fmt.Errorf("%s has no line %q", file, heading)
	}
	out := bytes.NewBuffer(head)
	out.WriteString(heading + "\n| Value | Default | |\n| --- | --- | --- |\n")
	if err := rows(out, "", values.Content[0]); err != nil {
		return err
	}
	return os.WriteFile(file, out.Bytes(), 0o644)
}

// described returns what a comment says about a value, after the comments on its section.
var described = regexp.MustCompile(`(?s)(?:^|\n)# -- (.*)$`)

// rows writes a row for each value with a comment, and looks for others below those without one.
func rows(out *bytes.Buffer, prefix string, values *yaml.Node) error {
	for i := 0; i < len(values.Content); i += 2 {
		key, value := values.Content[i], values.Content[i+1]
		name := prefix + key.Value
		match := described.FindStringSubmatch(key.HeadComment)
		if match == nil {
			if value.Kind != yaml.MappingNode {
				return fmt.Errorf("%s has no comment", name)
			}
			if err := rows(out, name+".", value); err != nil {
				return err
			}
			continue
		}
		var decoded any
		if err := value.Decode(&decoded); err != nil {
			return err
		}
		preset, err := json.Marshal(decoded)
		if err != nil {
			return err
		}
		comment := strings.ReplaceAll(strings.ReplaceAll(match[1], "\n# ", " "), "|", `\|`)
		fmt.Fprintf(out, "| `%s` | `%s` | %s |\n", name, preset, comment)
	}
	return nil
}

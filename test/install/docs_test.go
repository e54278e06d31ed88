package install

import (
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// skipped are kinds whose Go types are in no released module. They only have to be YAML with a name.
var skipped = []string{"Application", "ExternalSecret", "PushSecret", "SecretStore"}

// pages are all Markdown files of the repository.
func pages(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root(), func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{"bin", "dist", ".git", "node_modules"}, entry.Name()):
			return fs.SkipDir
		case filepath.Ext(path) == ".md":
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

var (
	yamlFence = regexp.MustCompile("(?ms)^( *)```yaml\n(.*?)^ *```$")
	heredoc   = regexp.MustCompile("(?ms)<<'EOF'\n(apiVersion: .*?)^EOF$")
)

// yamlBlocks returns the blocks of YAML in a page, and what its commands apply.
func yamlBlocks(t *testing.T, page string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, match := range yamlFence.FindAllStringSubmatch(string(text), -1) {
		block := regexp.MustCompile("(?m)^"+match[1]).ReplaceAllString(match[2], "")
		blocks = append(blocks, block)
	}
	for _, match := range heredoc.FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, match[1])
	}
	return blocks
}

func TestYAMLOfTheDocsIsValid(t *testing.T) {
	t.Parallel()
	installNamespace(t)
	count := map[string]int{}
	for _, page := range pages(t) {
		for _, block := range yamlBlocks(t, page) {
			if !strings.Contains(block, "apiVersion:") {
				count["parts"]++
				partIsValid(t, page, block)
				continue
			}
			for _, o := range decode(t, page, block) {
				if o.GetNamespace() == "" && o.GetKind() != "Namespace" {
					o.SetNamespace("media")
				}
				switch {
				case slices.Contains(skipped, o.GetKind()):
					count["skipped"]++
				case decoded[o.GetKind()] != nil:
					count["decoded"]++
					accepted(t, []*unstructured.Unstructured{o})
				default:
					count["applied"]++
					accepted(t, []*unstructured.Unstructured{o})
				}
			}
		}
	}
	t.Logf("objects and parts of objects: %v", count)
	if count["applied"] < 30 || count["decoded"] < 4 || count["parts"] < 15 {
		t.Errorf("got %v, want more: are the blocks found?", count)
	}
}

// partIsValid checks a part of a Pod strictly; any other only has to be YAML.
func partIsValid(t *testing.T, page, block string) {
	t.Helper()
	var part any
	if err := yaml.UnmarshalStrict([]byte(block), &part); err != nil {
		t.Errorf("%s: %v\n%s", page, err, block)
	}
	fields, _ := part.(map[string]any)
	if fields["containers"] == nil && fields["initContainers"] == nil {
		return
	}
	if err := yaml.UnmarshalStrict([]byte(block), &corev1.PodSpec{}); err != nil {
		t.Errorf("%s: %v\n%s", page, err, block)
	}
}

var (
	fence   = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	code    = regexp.MustCompile("`[^`\n]*`")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	anchor  = regexp.MustCompile(`<a (?:id|name)="([^"]+)"`)
)

// anchors returns the anchors of a page's headings, as on GitHub and on the site.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for _, match := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		slug := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(match[1]), "")
		found[strings.ReplaceAll(slug, " ", "-")] = true
	}
	for _, match := range anchor.FindAllStringSubmatch(text, -1) {
		found[match[1]] = true
	}
	return found
}

func TestRelativeLinksAreNotBroken(t *testing.T) {
	t.Parallel()
	checked, toAnchors, external := 0, 0, 0
	linked := map[[2]string]bool{}
	for _, page := range pages(t) {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text := code.ReplaceAllString(fence.ReplaceAllString(string(raw), ""), "`code`")
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(match[1], ":") {
				external++
				continue
			}
			checked++
			file, fragment, _ := strings.Cut(match[1], "#")
			target := page
			if file != "" {
				target = filepath.Join(filepath.Dir(page), file)
				linked[[2]string{page, target}] = true
			}
			if fragment != "" {
				toAnchors++
			}
			leadsTo(t, page, target, fragment)
		}
	}
	t.Logf("%d relative links, %d of them to headings; %d external links are not checked", checked, toAnchors, external)
	if checked < 60 || toAnchors < 15 {
		t.Errorf("got %d links, %d to headings, want more: are they found?", checked, toAnchors)
	}
	for _, page := range pages(t) {
		index := filepath.Join(filepath.Dir(page), "README.md")
		if strings.HasPrefix(page, root("docs")) && page != index && !linked[[2]string{index, page}] {
			t.Errorf("%s does not link to %s", index, page)
		}
	}
}

// leadsTo fails the test when target, a file or a folder, does not exist or has no heading for the fragment.
func leadsTo(t *testing.T, page, target, fragment string) {
	t.Helper()
	info, err := os.Stat(target)
	if err != nil {
		t.Errorf("%s: broken link: %v", page, err)
		return
	}
	if fragment == "" || info.IsDir() {
		return
	}
	content, err := os.ReadFile(target)
	if err != nil {
		t.Fatal(err)
	}
	if found := anchors(string(content)); !found[fragment] {
		t.Errorf("%s: %s has no heading for %s; it has %v", page, target, fragment, slices.Sorted(maps.Keys(found)))
	}
}

var ownPage = regexp.MustCompile(`https://(?:github\.com/plexlink/operator/(?:blob|tree)|raw\.githubusercontent\.com/plexlink/operator)/main/([^\s#"')>]+)(?:#([\w-]+))?`)

// Alerts, the chart, issue templates and messages of programs link to pages of this repository by their address.
func TestLinksToThisRepositoryAreNotBroken(t *testing.T) {
	t.Parallel()
	files, err := exec.Command("git", "-C", root(), "grep", "-lIE", "github(usercontent)?\\.com/plexlink/operator").Output()
	if err != nil {
		t.Fatal("list the files of the repository:", err)
	}
	count := 0
	for _, file := range strings.Fields(string(files)) {
		text, err := os.ReadFile(root(file))
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range ownPage.FindAllStringSubmatch(string(text), -1) {
			count++
			leadsTo(t, file, root(filepath.FromSlash(match[1])), match[2])
		}
	}
	t.Logf("%d links by address", count)
	if count < 20 {
		t.Errorf("got %d links, want more: are they found?", count)
	}
}

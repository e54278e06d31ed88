package install

import (
	"os"
	"testing"

	"github.com/google/cel-go/cel"
	lua "github.com/yuin/gopher-lua"
	"sigs.k8s.io/yaml"
)

// healths holds the expected health of each status.
var healths = map[string]struct{ argo, flux string }{
	"not seen by the operator":            {"Progressing", "InProgress"},
	"linked":                              {"Healthy", "Current"},
	"linked, plex.tv is down":             {"Healthy", "Current"},
	"linked, to be linked again":          {"Healthy", "Current"},
	"a PIN is open":                       {"Suspended", "Current"},
	"a PIN is being requested":            {"Progressing", "InProgress"},
	"the other link is not linked":        {"Suspended", "Current"},
	"in the queue":                        {"Suspended", "Current"},
	"the token is revoked, a PIN is open": {"Suspended", "Current"},
	"the server is being resolved":        {"Progressing", "InProgress"},
	"no PIN was entered in time":          {"Degraded", "Failed"},
	"plex.tv gives no PIN":                {"Progressing", "InProgress"},
	"several servers match":               {"Degraded", "Failed"},
	"the server does not answer":          {"Progressing", "InProgress"},
	"a Secret is in the way":              {"Degraded", "Failed"},
	"suspended":                           {"Suspended", "Current"},
}

func TestHealthChecksOfGitOpsTools(t *testing.T) {
	t.Parallel()
	var links map[string]map[string]any
	text, err := os.ReadFile("testdata/statuses.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &links); err != nil {
		t.Fatal(err)
	}
	argo, flux := healthChecks(t)
	for name := range links {
		if _, ok := healths[name]; !ok {
			t.Errorf("no health is expected of %q", name)
		}
	}
	for name, want := range healths {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			link, ok := links[name]
			if !ok {
				t.Fatal("testdata/statuses.yaml does not have it")
			}
			if got, message := argoHealth(t, argo, link); got != want.argo || message == "" {
				t.Errorf("Argo CD says %s (%s), want %s", got, message, want.argo)
			}
			if got := flux.health(t, link); got != want.flux {
				t.Errorf("Flux says %s, want %s", got, want.flux)
			}
			// Between a change of the spec and the next reconciliation.
			later := map[string]any{"metadata": map[string]any{"generation": float64(99)}, "spec": link["spec"], "status": link["status"]}
			if got, _ := argoHealth(t, argo, later); got != "Progressing" {
				t.Errorf("after a change of the spec Argo CD says %s", got)
			}
		})
	}
}

// healthChecks reads both health checks from the docs.
func healthChecks(t *testing.T) (argo string, flux fluxChecks) {
	t.Helper()
	for _, block := range yamlBlocks(t, root("docs", "argocd.md")) {
		var configMap struct{ Data map[string]string }
		if err := yaml.Unmarshal([]byte(block), &configMap); err != nil {
			t.Fatal(err)
		}
		argo += configMap.Data["resource.customizations.health.plexlink.dev_PlexLink"]
	}
	for _, block := range yamlBlocks(t, root("docs", "flux.md")) {
		for _, o := range decode(t, "docs/flux.md", block) {
			var kustomization struct {
				Spec struct{ HealthCheckExprs []fluxChecks }
			}
			text, err := yaml.Marshal(o.Object)
			if err != nil {
				t.Fatal(err)
			}
			if err := yaml.Unmarshal(text, &kustomization); err != nil {
				t.Fatal(err)
			}
			if len(kustomization.Spec.HealthCheckExprs) > 0 {
				flux = kustomization.Spec.HealthCheckExprs[0]
			}
		}
	}
	if argo == "" || flux.Current == "" {
		t.Fatal("the docs have no health checks")
	}
	return argo, flux
}

// argoHealth runs the script as Argo CD does: obj is the object, the result a table with status and message.
func argoHealth(t *testing.T, script string, link map[string]any) (health, message string) {
	t.Helper()
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable, lua.StringLibName: lua.OpenString} {
		l.Push(l.NewFunction(open))
		l.Push(lua.LString(name))
		l.Call(1, 0)
	}
	l.SetGlobal("obj", luaValue(l, link))
	if err := l.DoString(script); err != nil {
		t.Fatal(err)
	}
	result, ok := l.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("the script returns %v", l.Get(-1))
	}
	return result.RawGetString("status").String(), result.RawGetString("message").String()
}

func luaValue(l *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case map[string]any:
		table := l.NewTable()
		for name, each := range v {
			table.RawSetString(name, luaValue(l, each))
		}
		return table
	case []any:
		table := l.NewTable()
		for _, each := range v {
			table.Append(luaValue(l, each))
		}
		return table
	case string:
		return lua.LString(v)
	case float64:
		return lua.LNumber(v)
	case bool:
		return lua.LBool(v)
	default:
		return lua.LNil
	}
}

type fluxChecks struct{ InProgress, Failed, Current string }

// health follows Flux' RFC 0009: the generation first, then the expressions in this order.
func (f fluxChecks) health(t *testing.T, link map[string]any) string {
	t.Helper()
	metadata, status := link["metadata"].(map[string]any), link["status"].(map[string]any)
	if status["observedGeneration"] != metadata["generation"] {
		return "InProgress"
	}
	environment, err := cel.NewEnv(cel.OptionalTypes(), cel.Variable("metadata", cel.DynType), cel.Variable("spec", cel.DynType),
		cel.Variable("status", cel.DynType))
	if err != nil {
		t.Fatal(err)
	}
	for _, check := range []struct{ expression, health string }{
		{f.InProgress, "InProgress"}, {f.Failed, "Failed"}, {f.Current, "Current"},
	} {
		if check.expression == "" {
			continue
		}
		parsed, issues := environment.Compile(check.expression)
		if issues.Err() != nil {
			t.Fatal(issues.Err())
		}
		program, err := environment.Program(parsed)
		if err != nil {
			t.Fatal(err)
		}
		holds, _, err := program.Eval(map[string]any{"metadata": metadata, "spec": link["spec"], "status": status})
		if err != nil {
			t.Fatalf("%s: %v", check.expression, err)
		}
		if holds.Value() == true {
			return check.health
		}
	}
	return "InProgress"
}

package stories

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"plexlink.dev/operator/api/v1alpha1"
	"plexlink.dev/operator/internal/plex/plextest"
)

const recipesFolder = "../../config/samples/recipes"

// recipe describes what an app must find.
type recipe struct {
	// environment holds the app's environment variables.
	environment map[string]string
	// file is the name of a configuration file, and want its parsed content.
	file string
	want map[string]any
}

func TestEveryRecipeGivesItsAppWhatItReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.sim.AddAccount("bob")
	// A shared server, whose token is not the account's, with a name that must not break out of its quotes.
	w.server.Update(func(s *plextest.Server) {
		s.Owner, s.SharedWith, s.Name = bob, []*plextest.Account{w.alice}, "\"; rm -rf /\nadmin: true"
	})
	w.network.Listeners = map[string]string{"192.168.1.100:32400": w.server.Addr}
	w.server.SetConnections(plextest.LocalConnection("http://192.168.1.100:32400"))
	w.startOperator(withQPS(1000, 1000)) // With the product's budget not all recipes could have open PINs at the same time.
	w.kubectl("apply", "-k", recipesFolder)

	const url = "http://192.168.1.100:32400"
	for name, recipe := range map[string]func(token, account, identifier string) recipe{
		"kometa": func(token, _, _ string) recipe {
			return recipe{environment: map[string]string{"KOMETA_PLEX_URL": url, "KOMETA_PLEX_TOKEN": token}}
		},
		"imagemaid": func(token, _, _ string) recipe {
			return recipe{environment: map[string]string{"PLEX_URL": url, "PLEX_TOKEN": token}}
		},
		"plex-auto-languages": func(token, _, _ string) recipe {
			return recipe{environment: map[string]string{"PLEX_URL": url, "PLEX_TOKEN": token}}
		},
		"jellyplex-watched": func(token, _, _ string) recipe {
			return recipe{environment: map[string]string{"PLEX_BASEURL": url, "PLEX_TOKEN": token}}
		},
		"prometheus-plex-exporter": func(token, _, _ string) recipe {
			return recipe{environment: map[string]string{"PLEX_SERVER": url, "PLEX_TOKEN": token}}
		},
		"riven": func(token, _, _ string) recipe {
			return recipe{environment: map[string]string{
				"RIVEN_UPDATERS_PLEX_ENABLED": "true", "RIVEN_UPDATERS_PLEX_URL": url, "RIVEN_UPDATERS_PLEX_TOKEN": token,
			}}
		},
		"notifiarr": func(token, _, _ string) recipe {
			return recipe{environment: map[string]string{"DN_PLEX_URL": url, "DN_PLEX_TOKEN": token}}
		},
		"homepage": func(token, _, _ string) recipe {
			return recipe{environment: map[string]string{"HOMEPAGE_VAR_PLEX_URL": url, "HOMEPAGE_VAR_PLEX_TOKEN": token}}
		},
		"tautulli": func(token, _, _ string) recipe {
			return recipe{environment: map[string]string{
				"TAUTULLI_PMS_IP": "192.168.1.100", "TAUTULLI_PMS_PORT": "32400", "TAUTULLI_PMS_SSL": "0",
				"TAUTULLI_PMS_TOKEN": token, "TAUTULLI_PMS_IDENTIFIER": w.server.MachineIdentifier,
			}}
		},
		"autopulse": func(token, _, _ string) recipe {
			return recipe{environment: map[string]string{
				"AUTOPULSE__TARGETS__PLEX__TYPE": "plex", "AUTOPULSE__TARGETS__PLEX__URL": url, "AUTOPULSE__TARGETS__PLEX__TOKEN": token,
			}}
		},
		"python-plexapi": func(token, _, identifier string) recipe {
			return recipe{environment: map[string]string{
				"PLEXAPI_AUTH_SERVER_BASEURL": url, "PLEXAPI_AUTH_SERVER_TOKEN": token, "PLEXAPI_HEADER_IDENTIFIER": identifier,
			}}
		},
		"watchlistarr": func(_, account, _ string) recipe {
			return recipe{environment: map[string]string{"PLEX_TOKEN": account}}
		},
		"autoscan": func(token, _, _ string) recipe {
			return recipe{file: "config.yml", want: map[string]any{
				"minimum-age": "10m", "targets": map[string]any{"plex": []any{map[string]any{"url": url, "token": token}}},
			}}
		},
		"bazarr": func(token, _, _ string) recipe {
			return recipe{file: "config.yaml", want: map[string]any{
				"general": map[string]any{"use_plex": true},
				"plex":    map[string]any{"ip": "192.168.1.100", "port": 32400.0, "ssl": false, "apikey": token},
			}}
		},
		"posterizarr": func(token, _, _ string) recipe {
			return recipe{file: "config.json", want: map[string]any{
				"ApiPart": map[string]any{"PlexToken": token}, "PlexPart": map[string]any{"PlexUrl": url},
			}}
		},
	} {
		w.enterPIN(name)
		w.reaches(name, v1alpha1.ReasonLinked)
		data := w.secret(name).Data
		var state map[string][]byte
		w.eventually("the server token to be stored", func() error {
			if state = w.secret(name + v1alpha1.DeviceSecretSuffix).Data; len(state[keyServerToken]) == 0 {
				return errNotYet
			}
			return nil
		})
		r := recipe(string(state[keyServerToken]), string(state[keyToken]), string(state[keyClientIdentifier]))
		if string(state[keyToken]) == string(state[keyServerToken]) {
			t.Error("the account's token equals the server's, want different ones")
		}
		if w.secret(name).Annotations["reloader.stakater.com/match"] != "true" {
			t.Errorf("%s: Stakater Reloader would not restart the Pods", name)
		}
		if r.file == "" {
			if diff := cmp.Diff(r.environment, environmentOf(t, data)); diff != "" {
				t.Errorf("%s: unexpected environment: %s", name, diff)
			}
			continue
		}
		parsed := map[string]any{}
		decode := func(b []byte, into any) error { return yaml.UnmarshalStrict(b, into) }
		if filepath.Ext(r.file) == ".json" {
			decode = json.Unmarshal
		}
		if err := decode(data[r.file], &parsed); err != nil {
			t.Errorf("%s: %s cannot be read: %v", name, r.file, err)
		}
		if diff := cmp.Diff(r.want, parsed); diff != "" || len(data) != 1 {
			t.Errorf("%s: unexpected %s: %s", name, r.file, diff)
		}
	}
	for _, file := range recipeFiles(t) {
		if w.link(file).Status.SecretName == "" {
			t.Errorf("recipe %s is not tested", file)
		}
	}
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// environmentOf starts a process with the Secret as its environment, as envFrom does, and returns that environment.
func environmentOf(t *testing.T, data map[string][]byte) map[string]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "env", "-0")
	cmd.Env = []string{}
	for key, value := range data {
		if !variableName.MatchString(key) {
			t.Errorf("%s is not a valid variable name", key)
		}
		cmd.Env = append(cmd.Env, key+"="+string(value))
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		key, value, _ := strings.Cut(line, "=")
		seen[key] = value
	}
	return seen
}

func recipeFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(recipesFolder + "/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("found no recipes: %v", err)
	}
	names := map[string]bool{}
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".yaml"); name != "kustomization" {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func TestEveryRecipeHasAPageWithItsSample(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../docs/recipes/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range recipeFiles(t) {
		sample, err := os.ReadFile(filepath.Join(recipesFolder, name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		page, err := os.ReadFile("../../docs/recipes/" + name + ".md")
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.Contains(string(page), "```yaml\n"+string(sample)+"```\n") {
			t.Errorf("docs/recipes/%s.md does not contain the sample verbatim", name)
		}
		if !strings.Contains(string(readme), "("+name+".md)") {
			t.Errorf("docs/recipes/README.md does not link to %s.md", name)
		}
	}
}

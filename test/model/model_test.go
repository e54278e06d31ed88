package model

import (
	"testing"
	"time"
)

// bounds are the bounds of the proof that runs on every commit.
var bounds = Limits{Deaths: 3, Failures: 2, Late: 1, PINs: maxPINs}

func TestDesignKeepsItsRules(t *testing.T) {
	t.Parallel()
	began := time.Now()
	r := Explore(bounds, None)
	for rule, steps := range r.Broken {
		t.Errorf("after %d steps: %s", steps, rule)
	}
	if r.Stuck != 0 {
		t.Errorf("got %d states from which the link cannot be linked, want none", r.Stuck)
	}
	t.Logf("model: %d states, %d rules broken, %s", r.States, len(r.Broken), time.Since(began).Round(time.Millisecond))
}

// A rule that no mutant breaks would prove nothing.
func TestEveryMutantIsCaught(t *testing.T) {
	t.Parallel()
	for _, mutant := range Mutants {
		t.Run(string(mutant), func(t *testing.T) {
			t.Parallel()
			limits := Limits{Deaths: 2, Failures: 1, Late: 1, PINs: maxPINs}
			if mutant == BothLead { // It has many more states.
				limits = Limits{PINs: maxPINs}
			}
			r := Explore(limits, mutant)
			if len(r.Broken) == 0 && r.Stuck == 0 {
				t.Errorf("got no broken rule in %d states, want one", r.States)
			}
			t.Logf("%d states, broken: %v, stuck: %d", r.States, r.Broken, r.Stuck)
		})
	}
}

// TestEveryCallMayFail replays what real runs show.
func TestReplayAcceptsTheDesignAndRefusesMistakes(t *testing.T) {
	t.Parallel()
	linked := []View{{}, {PIN: 1}, {PIN: 1, Shown: 1}, {Token: 1, Shown: 1}, {Token: 1, Address: 1, Shown: 1},
		{Token: 1, Address: 1, SecretToken: 1, SecretAddress: 1, Shown: 1}, {Token: 1, Address: 1, SecretToken: 1, SecretAddress: 1}}
	if got := Replay(linked); got != len(linked) {
		t.Errorf("got %d of %d views of a link", got, len(linked))
	}
	for name, views := range map[string][]View{
		"status before state":          {{}, {Shown: 1}},
		"Secret before state":          {{}, {PIN: 1}, {PIN: 1, Shown: 1}, {Token: 1, Shown: 1}, {Token: 1, SecretToken: 1, SecretAddress: 1, Shown: 1}},
		"another PIN while it is open": {{}, {PIN: 1}, {PIN: 1, Shown: 1}, {PIN: 2, Shown: 1}, {PIN: 2, Token: 1}},
		"a token without a PIN":        {{}, {Token: 1}},
	} {
		if got := Replay(views); got == len(views) {
			t.Errorf("%s: got it accepted", name)
		}
	}
}

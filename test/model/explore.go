package model

// world is a design within limits.
type world struct {
	Limits
	mutant Mutant
}

// checked notes the rule that a step breaks.
func checked(before, after State) State {
	if after.broken != "" {
		return after
	}
	for n := uint8(1); n <= after.minted; n++ {
		known := max(after.stored.token, after.managers[0].memory.token, after.managers[1].memory.token)
		if after.pins[n] == claimed && after.stored.pin != n && known < n {
			after.broken = "a PIN was entered, and its token can be collected no more"
		}
	}
	switch {
	case after.stored.token < before.stored.token:
		after.broken = "a stored token is lost"
	case after.stored.pin != before.stored.pin && before.shown == before.stored.pin && before.live(before.stored.pin) &&
		after.stored.token < before.stored.pin:
		after.broken = "a PIN that is asked for is no longer stored"
	case after.secretAddress < before.secretAddress:
		after.broken = "the Secret went back to an earlier address"
	case after.secretToken < before.secretToken:
		after.broken = "the Secret went back to an earlier token"
	}
	return after
}

// Result is what was found.
type Result struct {
	States int
	// Broken has the rules that were broken, each with the shortest number of steps to it.
	Broken map[string]int
	// Stuck is how many states there are from which a good end cannot be reached without another PIN than the bounds allow.
	Stuck int
}

// Explore visits every state of a design.
func Explore(limits Limits, mutant Mutant) Result {
	w := &world{limits, mutant}
	first := State{due: true}
	depth := map[State]int{first: 0}
	backward := map[State][]State{}
	r := Result{Broken: map[string]int{}}
	for queue := []State{first}; len(queue) > 0; queue = queue[1:] {
		s := queue[0]
		if s.broken != "" {
			if _, known := r.Broken[s.broken]; !known {
				r.Broken[s.broken] = depth[s]
			}
			continue
		}
		for _, t := range w.next(s) {
			if t.broken == "" {
				backward[t] = append(backward[t], s)
			}
			if _, known := depth[t]; !known {
				depth[t] = depth[s] + 1
				queue = append(queue, t)
			}
		}
	}
	r.States = len(depth)
	can := map[State]bool{}
	var mark func(State)
	mark = func(s State) {
		if !can[s] {
			can[s] = true
			for _, earlier := range backward[s] {
				mark(earlier)
			}
		}
	}
	for s := range depth {
		if s.good() {
			mark(s)
		}
	}
	for s := range depth {
		if s.broken == "" && !can[s] && s.minted+limits.Late < limits.PINs { // A late write may take the place of a PIN.
			r.Stuck++
		}
	}
	return r
}

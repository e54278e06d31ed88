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
		kept := after.stored.pin == n || after.stored.token >= n || after.managers[0].memory.token >= n || after.managers[1].memory.token >= n
		if after.pins[n] == claimed && !kept {
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
	r.Stuck = stuck(depth, backward, limits)
	return r
}

// stuck counts the states from which no good state can be reached, those apart that the bound on PINs stops.
func stuck(depth map[State]int, backward map[State][]State, limits Limits) (n int) {
	can, queue := map[State]bool{}, []State(nil)
	for s := range depth {
		if s.broken == "" && s.good() {
			can[s] = true
			queue = append(queue, s)
		}
	}
	for ; len(queue) > 0; queue = queue[1:] {
		for _, s := range backward[queue[0]] {
			if !can[s] {
				can[s] = true
				queue = append(queue, s)
			}
		}
	}
	for s := range depth {
		if s.broken == "" && !can[s] && s.minted < limits.PINs {
			n++
		}
	}
	return n
}

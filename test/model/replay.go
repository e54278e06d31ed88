package model

// View is what the Secrets and the status of a link show, with the numbers of State.
type View struct{ PIN, Token, Address, SecretToken, SecretAddress, Shown uint8 }

func (s *State) view() View {
	return View{s.stored.pin, s.stored.token, s.stored.address, s.secretToken, s.secretAddress, s.shown}
}

// Replay returns how many of the views, each of which follows the one before, the design reaches in this order without a fault.
func Replay(views []View) int {
	w := &world{Limits: Limits{PINs: maxPINs}}
	states := map[State]bool{{due: true}: true}
	for i, view := range views {
		reached, seen, queue := map[State]bool{}, map[State]bool{}, []State(nil)
		visit := func(s State, from View) {
			switch s.view() {
			case view:
				reached[s] = true
			case from:
				if !seen[s] {
					seen[s] = true
					queue = append(queue, s)
				}
			}
		}
		for s := range states {
			visit(s, s.view())
		}
		for ; len(queue) > 0; queue = queue[1:] {
			for _, t := range w.next(queue[0]) {
				if t.broken == "" {
					visit(t, queue[0].view())
				}
			}
		}
		if len(reached) == 0 {
			return i
		}
		states = reached
	}
	return len(views)
}

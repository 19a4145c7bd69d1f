package browser

import (
	"fmt"
	"testing"
)

// look hides the tab from its page, or shows it again. A browser without a screen hides no tab by itself.
func (u *user) look(visible bool) {
	u.t.Helper()
	state := map[bool]string{true: "visible", false: "hidden"}[visible]
	if _, err := eval[bool](u, fmt.Sprintf(`(() => {
		Object.defineProperty(document, "hidden", { value: %t, configurable: true });
		Object.defineProperty(document, "visibilityState", { value: %q, configurable: true });
		return document.dispatchEvent(new Event("visibilitychange"));
	})()`, !visible, state)); err != nil {
		u.t.Fatal(err)
	}
}

// A hidden tab holds no stream, so that a browser's few connections are there for the tab that somebody looks at. What was
// asked for in it ends all the same, and it is right again when it is looked at.
func TestHiddenTab(t *testing.T) {
	chromium.start(t)
	s := shared(t)
	u, other := newUser(t), newUser(t)
	customer := unique("hidden")
	u.door(s.page, customer)
	u.order("Tea", "1.00")
	u.has("CHEAP", 1)
	u.look(false)
	u.shows("[data-connection]", "Connecting")
	other.door(s.page, customer)
	other.order("Jam", "2.00")
	other.has("CHEAP", 2)
	u.order("Salt", "3.00")
	u.shows(".outcomes li", "accepted")
	other.has("CHEAP", 3)
	u.has("CHEAP", 1) // it is told nothing
	u.look(true)
	u.has("CHEAP", 3)
	u.shows("[data-connection]", "Live")

	v := newUser(t)
	v.open(s.calculator)
	v.create("1", "1.0")
	v.look(false)
	v.shows("[data-connection]", "Connecting")
	v.fill("Operand", "2")
	v.click("Add")
	v.shows(".outcomes li", "accepted")
	v.shows(".result", "1.0")
	v.look(true)
	v.shows(".result", "3.0")
	v.shows("[data-connection]", "Live")
}

// More tabs than a browser has connections to an origin: each is live when somebody looks at it.
func TestManyTabs(t *testing.T) {
	chromium.start(t)
	s := shared(t)
	first := newUser(t)
	customer := unique("tabs")
	first.door(s.page, customer)
	last := first
	for range 7 {
		last.look(false)
		last = first.tab()
		last.door(s.page, customer)
	}
	last.order("Tea", "1.00")
	last.has("CHEAP", 1)
	last.look(false)
	first.look(true)
	first.has("CHEAP", 1)
	first.shows("[data-connection]", "Live")
}

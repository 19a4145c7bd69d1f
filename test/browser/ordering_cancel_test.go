package browser

import (
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// stands waits until an element, given as JavaScript, has stood at one place of the page for longer than a row must that is
// to be clicked, as a person does who aims.
func (u *user) stands(what, find string) {
	u.t.Helper()
	u.sees(what+" stands still", fmt.Sprintf(`(() => {
		const element = %s;
		const box = element?.getBoundingClientRect();
		const place = box && [box.right + scrollX, box.top + scrollY].join();
		if (!element || window.stood?.element !== element || window.stood.place !== place) {
			window.stood = { element, place, since: performance.now() };
			return false;
		}
		return performance.now() - window.stood.since > 550;
	})()`, find))
}

// cancel clicks the × of an order, once it stands still.
func (u *user) cancel(order string) {
	u.t.Helper()
	u.stands(order, fmt.Sprintf(`[...document.querySelectorAll("button.cancel")].find((one) => one.ariaLabel === %q)`, "Cancel "+order))
	u.click("Cancel " + order)
}

// first is the × of the first order in CHEAP.
const first = `document.querySelector("[data-bucket=CHEAP] .cancel")`

// aim waits until the first × stands still, and returns where it is in the window.
func (u *user) aim() (x, y float64) {
	u.t.Helper()
	u.sees("there is an order to cancel", fmt.Sprintf(`%[1]s && (%[1]s.scrollIntoView({ block: "center", behavior: "instant" }), true)`, first))
	u.stands("the first order", first)
	at, err := eval[[]float64](u, fmt.Sprintf(`(({ x, y, width, height }) => [x + width / 2, y + height / 2])(%s.getBoundingClientRect())`, first))
	if err != nil {
		u.t.Fatal(err)
	}
	return at[0], at[1]
}

// cancelled waits until so many commands that cancel have been accepted, and none has been given beside them.
func (u *user) cancelled(n int) {
	u.t.Helper()
	u.sees(fmt.Sprintf("%d orders are cancelled", n), fmt.Sprintf(`(() => {
		const all = [...document.querySelectorAll(".outcomes li")].filter((one) => one.innerText.startsWith("Cancel"));
		return all.length === %d && all.every((one) => one.dataset.state === "accepted");
	})()`, n))
}

// Whoever clicks × twice at the same spot means one order, though the next one has moved there by the second click.
func TestOrderingCancelsOnce(t *testing.T) {
	chromium.start(t)
	s := shared(t)
	for _, test := range []struct {
		between time.Duration
		phone   bool
	}{{60 * time.Millisecond, false}, {150 * time.Millisecond, false}, {300 * time.Millisecond, false}, {150 * time.Millisecond, true}} {
		t.Run(fmt.Sprintf("%s,phone=%t", test.between, test.phone), func(t *testing.T) {
			u := newUser(t)
			// Clicks that a slow machine hands on further apart than the page guards against say nothing.
			for attempt := 1; u.clickTwice(s.page, test.between, test.phone) >= 500; attempt++ {
				if attempt == 5 {
					t.Fatal("the machine is too slow for two clicks in half a second")
				}
			}
			u.cancelled(1)
			u.has("CHEAP", 3)

			x, y := u.aim()
			u.do(chromedp.MouseClickXY(x, y))
			u.cancelled(2)
			u.has("CHEAP", 2)

			u.sees("the next × has the focus", fmt.Sprintf(`(%[1]s.focus(), document.activeElement === %[1]s)`, first))
			u.press(kb.Enter) // at once, where the row has just moved to
			u.cancelled(3)
			u.has("CHEAP", 1)
		})
	}
}

// clickTwice places four orders for a new customer and clicks the first × twice at the same spot. It returns how many
// milliseconds were between the clicks, as the page saw them.
func (u *user) clickTwice(page string, between time.Duration, phone bool) float64 {
	u.t.Helper()
	u.open("about:blank") // so that the commands of an attempt before are gone
	u.door(page, unique("twice"))
	if phone {
		u.phone()
	}
	for i, item := range []string{"Tea", "Jam", "Salt", "Soap"} {
		u.order(item, fmt.Sprintf("1.0%d", i))
		u.has("CHEAP", i+1)
	}
	u.sees("clicks are noted", `(window.clicks = [], addEventListener("click", (event) => clicks.push(event.timeStamp), true), true)`)
	x, y := u.aim()
	u.do(chromedp.MouseClickXY(x, y), chromedp.Sleep(between), chromedp.MouseClickXY(x, y))
	apart, err := eval[float64](u, `clicks.length === 2 ? clicks[1] - clicks[0] : -1`)
	if err != nil {
		u.t.Fatal(err)
	}
	if apart < 0 {
		u.t.Fatal("the page has not seen two clicks")
	}
	return apart
}

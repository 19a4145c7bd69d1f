package browser

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// steps waits until the history of the value on the page has so many events.
func (u *user) steps(n int) {
	u.t.Helper()
	u.sees(fmt.Sprintf("the history has %d events", n), fmt.Sprintf(`document.querySelectorAll(".history tbody tr").length === %d`, n))
}

// create makes a value and waits until it is shown.
func (u *user) create(number, shown string) {
	u.t.Helper()
	u.fill("Number", number+kb.Enter)
	u.shows(".result", shown)
}

func TestCalculator(t *testing.T) {
	chromium.start(t)
	s := up(t)
	ann, ben := newUser(t), newUser(t)
	ann.open(s.calculator)
	ann.shows("[data-connection]", "Live")
	ann.shows("#list-title + .field + .none", "none yet")
	ann.create("3", "3.0")
	ann.steps(1)

	ben.open(s.calculator)
	ben.shows(".values", "3.0")
	ben.do(chromedp.Click(chromedp.CSS(".values a")))
	ben.shows(".result", "3.0")

	ann.fill("Operand", "3")
	ann.click("Multiply")
	ann.shows(".result", "9.0")
	ann.steps(2)
	ann.shows(".history tbody tr", "Multiplied by 3.0")
	ann.shows(".outcomes li", "accepted")
	ann.fill("Operand", "-0.5")
	ann.click("Add")
	ann.shows(".result", "8.5")
	ann.shows(".values", "8.5")
	// What one does the other sees, without a reload.
	ben.shows(".result", "8.5")
	ben.steps(3)

	ann.fill("Operand", "1e308")
	ann.click("Multiply")
	ann.sees("it is rejected, and the reason told", `document.querySelector(".outcomes li")?.dataset.state === "rejected" && document.querySelector(".outcomes .reason")`)
	ann.shows(".result", "8.5")
	ann.fill("Operand", "many")
	ann.click("Add")
	ann.shows(".problem", "Enter a number")
	ann.sees("the field with the fault has the focus", `document.activeElement?.matches("[aria-invalid=true]")`)

	ann.screenshot("calculator")
	ann.readable()
	ann.dark()
	ann.screenshot("calculator-dark")
	ann.readable()
	ann.phone()
	ann.screenshot("calculator-phone-dark")
	ben.phone()
	ben.screenshot("calculator-phone")
}

func TestCalculatorByKeyboard(t *testing.T) {
	chromium.start(t)
	s := up(t)
	u := newUser(t)
	u.open(s.calculator)
	u.shows("[data-connection]", "Live")
	u.press(kb.Tab)
	u.sees("the first stop is the way past the navigation", `document.activeElement?.matches(".skip")`)
	u.press(kb.Enter)
	u.tabTo("form input")
	u.press("20" + kb.Enter)
	u.shows(".result", "20.0")
	u.tabTo(".change input")
	u.press("0.5" + kb.Enter) // the first button is what the enter key presses
	u.shows(".result", "20.5")
	u.press("2")
	u.tabTo("[data-operation=MULTIPLY]")
	u.press(kb.Enter)
	u.shows(".result", "41.0")
	u.steps(3)
}

func TestCalculatorSurvivesARestart(t *testing.T) {
	chromium.start(t)
	s := up(t)
	u := newUser(t)
	u.open(s.calculator)
	u.create("1", "1.0")
	u.steps(1)
	u.serverGone(true)
	s.kill()
	u.shows("[data-connection]", "Not connected")
	u.shows("[role=alert]", "Trying again by itself")
	u.fill("Operand", "1")
	u.click("Add")
	u.shows(".outcomes li", "trying again")
	u.screenshot("calculator-away")
	s.start()
	s.awaitReady()
	u.shows(".result", "2.0")
	u.shows("[data-connection]", "Live")
	u.shows(".outcomes li", "accepted")
	u.steps(2)
	u.serverGone(false)
	u.do(chromedp.Reload())
	u.shows(".result", "2.0")
	u.steps(2)
}

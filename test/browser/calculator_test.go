package browser

import (
	"fmt"
	"strings"
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
	s := shared(t)
	ann, ben := newUser(t), newUser(t)
	ann.open(s.calculator)
	ann.shows("[data-connection]", "Live")
	ann.create("3", "3.0")
	ann.steps(1)

	ben.open(s.calculator)
	ben.fill("Find by the beginning of the id", strings.TrimPrefix(ann.hash(), "#/values/"))
	ben.sees("the value is the only one", `document.querySelectorAll(".values a").length === 1`)
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
	s := shared(t)
	u := newUser(t)
	u.open(s.calculator)
	u.shows("[data-connection]", "Live")
	u.press(kb.Tab)
	u.sees("the first stop is the way past the navigation", `document.activeElement?.matches(".skip")`)
	u.press(kb.Enter)
	u.sees("past the navigation", `document.activeElement?.matches("main")`)
	u.tabTo("form input")
	u.press("20" + kb.Enter)
	u.shows(".result", "20.0")
	u.pastNavigation()
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
	s.process.Kill9()
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

// What people type and paste, and what they get for it.
func TestCalculatorOddInput(t *testing.T) {
	chromium.start(t)
	s := shared(t)
	u := newUser(t)
	u.serverGone(true)                          // the browser logs the answers for values that are not there as well
	u.open(s.calculator + "/#/values/%E0%A4%A") // no address that this page has made
	u.shows(".empty", "There is no such value")
	u.open(s.calculator + "/#/values/" + "%3Cimg%20src%3Dx%3E")
	u.shows(".empty", "<img src=x>")
	for _, typed := range []string{"NaN", "Infinity", "0x10", "1,5", "<b>3</b>", "３"} {
		u.paste("Number", typed)
		u.press(kb.Enter)
		u.shows(".problem", "Enter a number")
	}
	u.serverGone(false)
	const beyond = "outside of what a double can hold"
	u.fill("Number", "1e400")
	u.press(kb.Enter)
	u.shows(".problem", beyond)
	u.paste("Number", "\u22127.25") // a minus sign as word processors write it
	u.press(kb.Enter)
	u.shows(".result", "-7.25")
	u.fill("Find by the beginning of the id", "<img src=x onerror=alert(1)>")
	u.shows(".none", "No id begins so")
	for typed, button := range map[string]string{"1e400": "Multiply", "-1.8e308": "Add"} {
		u.fill("Operand", typed)
		u.click(button)
		u.shows(".change .problem", beyond)
	}
	u.sees("it was not sent", `document.querySelectorAll(".outcomes li").length === 1`)
	u.fill("Operand", "0.25")
	u.doubleClick("Add")
	u.shows(".result", "-7.0")
	u.fill("Operand", "1")
	u.click("Add")
	u.shows(".result", "-6.0")
	u.steps(3)
	u.sees("there is no complaint of an empty form", `!document.querySelector(".problem")`)
	u.fill("Number", "1.7976931348623157e308")
	u.press(kb.Enter)
	u.shows(".result", "1.7976931348623157e308")
	u.phone()
	u.screenshot("calculator-odd-phone")
}

package browser

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// unique returns a customer whom no other test has, and no earlier run of the same test: the server of the tests stays.
func unique(name string) string { return name + "-" + strings.ToLower(rand.Text()[:8]) }

// order places an order as a person does.
func (u *user) order(item, price string) {
	u.t.Helper()
	u.fill("Item", item)
	u.fill("Price", price)
	u.press(kb.Enter)
}

// has waits until a bucket has exactly so many orders.
func (u *user) has(bucket string, orders int) {
	u.t.Helper()
	u.sees(fmt.Sprintf("%d orders in %s", orders, bucket), fmt.Sprintf(
		`document.querySelector("[data-bucket=%[1]s]")?.dataset.count === "%[2]d" && document.querySelectorAll("[data-bucket=%[1]s] [data-order]").length === %[2]d`,
		bucket, orders))
}

// One orders, and everybody who looks at that customer sees it; another customer's page stays as it is.
func TestOrdering(t *testing.T) {
	chromium.start(t)
	s := shared(t)
	ann, too, ben := newUser(t), newUser(t), newUser(t)
	one, another := unique("ann"), unique("ben")
	ann.open(s.page)
	ann.shows(".systems", "Calculator")
	ann.screenshot("start")
	ann.readable()
	ann.click("Ordering")
	ann.fill("Customer", one+kb.Enter)
	too.open(s.page + "/ordering#/customers/" + one)
	ben.open(s.page + "/ordering#/customers/" + another)
	for _, u := range []*user{ann, too, ben} {
		u.shows("[data-connection]", "Live")
	}
	for _, order := range []struct{ item, price string }{{"Tea", "4.99"}, {"Soap", "5.00"}, {"Lamp", "50.00"}, {"Chair", "50.01"}} {
		ann.order(order.item, order.price)
	}
	for _, u := range []*user{ann, too} {
		u.has("CHEAP", 1)
		u.has("AFFORDABLE", 2)
		u.has("EXPENSIVE", 1)
		u.shows("[data-bucket=CHEAP]", "£4.99")
		u.shows("[data-bucket=EXPENSIVE]", "£50.01")
	}
	ann.order("Dust", "1.234")
	ann.shows(".problem", "at most two places")
	ann.fill("Item", "Jam")
	ann.fill("Price", "3.20")
	ann.sees("what is being mended is not found fault with", `!document.querySelector(".problem")`)
	ann.screenshot("ordering")
	ann.readable()
	ann.cancel("Soap, £5.00")
	too.has("AFFORDABLE", 1)
	ann.has("AFFORDABLE", 1)
	ann.dark()
	ann.readable()
	ann.phone()
	ann.screenshot("ordering-phone-dark")
	for _, bucket := range []string{"CHEAP", "AFFORDABLE", "EXPENSIVE"} {
		ben.has(bucket, 0)
	}
}

// door opens ordering's page of a customer, and waits until it is live.
func (u *user) door(page, customer string) {
	u.t.Helper()
	u.open(page + "/ordering#/customers/" + url.PathEscape(customer))
	u.shows("[data-connection]", "Live")
}

func TestOrderingByKeyboard(t *testing.T) {
	chromium.start(t)
	s := shared(t)
	u := newUser(t)
	u.open(s.page + "/ordering")
	u.tabTo(".door input")
	u.press(unique("keys") + kb.Enter)
	u.shows("[data-connection]", "Live")
	u.pastNavigation()
	u.tabTo(".place input")
	u.press("Tea" + kb.Tab + "4.99" + kb.Enter)
	u.has("CHEAP", 1)
	u.sees("the next order can be typed at once", `document.activeElement?.matches(".place input")`)
	u.press("Chair" + kb.Tab + "50.01" + kb.Enter)
	u.has("EXPENSIVE", 1)
	u.press("Air" + kb.Tab + "dear" + kb.Enter)
	u.sees("the field with the fault has the focus", `document.activeElement?.matches("[aria-invalid=true]")`)
	u.tabTo("[data-bucket=CHEAP] .cancel")
	u.press(kb.Enter)
	u.has("CHEAP", 0)
	u.sees("the focus is where the order was", `document.activeElement?.matches("[data-bucket=CHEAP] h2")`)
	u.has("EXPENSIVE", 1)
}

func TestOrderingSurvivesARestart(t *testing.T) {
	chromium.start(t)
	s := up(t)
	u, other := newUser(t), newUser(t)
	u.door(s.page, "ann")
	other.door(s.page, "ann")
	u.order("Tea", "1.00")
	u.has("CHEAP", 1)
	u.serverGone(true)
	other.serverGone(true)
	s.process.Kill9()
	u.shows("[data-connection]", "Not connected")
	u.shows("[role=alert]", "Trying again by itself")
	u.order("Jam", "2.00")
	u.shows(".outcomes li", "trying again")
	u.has("CHEAP", 1)
	u.screenshot("ordering-away")
	s.start()
	s.awaitReady()
	for _, one := range []*user{u, other} {
		one.has("CHEAP", 2)
		one.shows("[data-connection]", "Live")
		one.shows("[data-bucket=CHEAP] .sum", "£3.00")
	}
	u.shows(".outcomes li", "accepted")
	u.serverGone(false)
	other.serverGone(false)
	u.cancel("Tea, £1.00")
	other.has("CHEAP", 1)
	u.has("CHEAP", 1)
	u.do(chromedp.Reload())
	u.has("CHEAP", 1)
	u.shows("[data-bucket=CHEAP]", "Jam")
}

// Either service may be away: the page says which, shows what it has, and goes on by itself.
func TestOrderingOneServiceAway(t *testing.T) {
	chromium.start(t)
	s := shared(t)
	command, query := newGate(t, s.command), newGate(t, s.query)
	page := pageServer(t, command.url(), query.url())
	u := newUser(t)
	u.door(page, unique("away"))
	u.order("Tea", "1.00")
	u.has("CHEAP", 1)
	u.serverGone(true)

	command.shut()
	u.shows("[role=alert]", "Orders cannot be placed or cancelled now")
	u.order("Jam", "2.00")
	u.shows(".outcomes li", "trying again")
	u.has("CHEAP", 1)
	u.screenshot("ordering-command-away")
	u.readable()
	command.let()
	u.has("CHEAP", 2)
	u.shows("[data-connection]", "Live")

	query.shut()
	u.shows("[role=alert]", "Orders cannot be shown now")
	u.has("CHEAP", 2)
	u.order("Salt", "3.00")
	u.shows(".outcomes li", "accepted")
	u.screenshot("ordering-query-away")
	query.let()
	u.has("CHEAP", 3)
	u.shows("[data-connection]", "Live")
	u.sees("the warning is gone", `!document.querySelector("[role=alert]")`)
}

// pageServer starts the server of the pages alone, between two services, and returns its URL.
func pageServer(t *testing.T, command, query string) string {
	t.Helper()
	s, dir := newServer(t)
	addr := strings.TrimPrefix(s.page, "http://")
	s.process.Args = []string{
		"ordering", "page", "--ordering-page-addr", addr, "--admin-addr", strings.TrimPrefix(s.admin, "http://"),
		"--ordering-command-url", command, "--ordering-query-url", query,
	}
	t.Cleanup(func() { s.cleanUp(dir) })
	s.start()
	s.awaitReady()
	return s.page
}

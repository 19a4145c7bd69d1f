package browser

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

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
	s := up(t)
	ann, too, ben := newUser(t), newUser(t), newUser(t)
	ann.open(s.page)
	ann.shows(".systems", "Calculator")
	ann.screenshot("start")
	ann.readable()
	ann.click("Ordering")
	ann.fill("Customer", "ann"+kb.Enter)
	too.open(s.page + "/ordering#/customers/ann")
	ben.open(s.page + "/ordering#/customers/ben")
	for _, u := range []*user{ann, too, ben} {
		u.shows("[data-connection]", "Live")
	}
	for _, one := range []struct{ item, price string }{{"Tea", "4.99"}, {"Soap", "5.00"}, {"Lamp", "50.00"}, {"Chair", "50.01"}} {
		ann.order(one.item, one.price)
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
	ann.screenshot("ordering")
	ann.readable()
	ann.click("Cancel Soap, £5.00")
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

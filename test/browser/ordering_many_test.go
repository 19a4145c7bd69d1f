package browser

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// post places an order without a browser.
func post(client *http.Client, page, customer, label, price string) error {
	body, err := json.Marshal(map[string]string{"customerId": customer, "itemLabel": label, "itemPrice": price})
	if err != nil {
		return err
	}
	response, err := client.Post(page+"/orders", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("ordering %s for %s: %s %s", label, price, response.Status, answer)
	}
	return err
}

// sums waits until a bucket has so many orders of a total, and shows so many of them.
func (u *user) sums(bucket string, orders, shown int, total string) {
	u.t.Helper()
	u.sees(fmt.Sprintf("%d orders of %s in %s, %d of them shown", orders, total, bucket, shown), fmt.Sprintf(
		`(({ dataset }) => dataset.count === "%[2]d" && dataset.total === %[4]q)(document.querySelector("[data-bucket=%[1]s]")) && document.querySelectorAll("[data-bucket=%[1]s] [data-order]").length === %[3]d`,
		bucket, orders, shown, total))
}

// shown returns the ids of the orders that a bucket shows.
func (u *user) shown(bucket string) []string {
	u.t.Helper()
	ids, err := eval[[]string](u, fmt.Sprintf(`[...document.querySelectorAll("[data-bucket=%s] [data-order]")].map((row) => row.dataset.order)`, bucket))
	if err != nil {
		u.t.Fatal(err)
	}
	return ids
}

// at waits until a bucket shows a page.
func (u *user) at(bucket string, page int) {
	u.t.Helper()
	u.sees(fmt.Sprintf("page %d of %s", page, bucket), fmt.Sprintf(
		`document.querySelector("[data-bucket=%[1]s] [data-page]")?.dataset.page === "%[2]d" && document.querySelector("[data-bucket=%[1]s]").ariaBusy !== "true"`, bucket, page))
}

// TestOrderingLongBuckets looks through the orders of somebody who has 5,000.
func TestOrderingLongBuckets(t *testing.T) {
	chromium.start(t)
	s := shared(t)
	const cheap, affordable, expensive = 2500, 1500, 1000
	u := newUser(t)
	customer := unique("many")
	u.door(s.page, customer) // which sees them come
	client := &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	defer client.CloseIdleConnections()
	var wait sync.WaitGroup
	var failures [16]error
	for g := range failures {
		wait.Go(func() {
			for i := g; i < cheap+affordable+expensive && failures[g] == nil; i += len(failures) {
				price := "1.25"
				if i >= cheap {
					price = "10.00"
				}
				if i >= cheap+affordable {
					price = "75.50"
				}
				failures[g] = post(client, s.page, customer, fmt.Sprintf("Item %d", i), price)
			}
		})
	}
	wait.Wait()
	for _, err := range failures {
		if err != nil {
			t.Fatal(err)
		}
	}
	u.sums("CHEAP", cheap, 20, "3125.00")
	u.sums("AFFORDABLE", affordable, 20, "15000.00")
	u.sums("EXPENSIVE", expensive, 20, "75500.00")
	u.shows("[data-bucket=EXPENSIVE] .sum", "£75,500.00")
	u.shows("[data-bucket=CHEAP] .pager", "Page 1 of 125")

	all := u.shown("CHEAP")
	for page := 2; page <= 4; page++ {
		u.click("Next page of Cheap")
		u.at("CHEAP", page)
		all = append(all, u.shown("CHEAP")...)
	}
	slices.Sort(all)
	if found := len(slices.Compact(all)); found != 80 {
		t.Errorf("four pages have %d orders, want 80", found)
	}
	// What is ordered now moves everything on by one; this page stays this page.
	u.order("Pin", "0.01")
	u.sums("CHEAP", cheap+1, 20, "3125.01")
	u.at("CHEAP", 4)
	u.click("First page of Cheap")
	u.at("CHEAP", 1)
	u.shows("[data-bucket=CHEAP] [data-order]", "Pin")
	u.cancel("Pin, £0.01")
	u.sums("CHEAP", cheap, 20, "3125.00")
	u.order("Pin", "0.02")
	u.sums("CHEAP", cheap+1, 20, "3125.02")
	u.do(chromedp.Focus(chromedp.CSS(".tools select")))
	u.press(kb.ArrowDown + kb.ArrowDown + kb.ArrowDown)
	u.shows("[data-bucket=CHEAP] [data-order]", "Pin") // the cheapest first
	u.screenshot("ordering-many")
	u.phone()
	u.screenshot("ordering-many-phone")
}

// What people type and paste, and what they get for it.
func TestOrderingOddInput(t *testing.T) {
	chromium.start(t)
	s := shared(t)
	u := newUser(t)
	u.open(s.page + "/ordering#/customers/%E0%A4%A")
	u.shows("h1", "%E0%A4%A")
	customer := unique("<i>Zoë & Søn</i> / 北京 🍵")
	u.door(s.page, customer)
	u.shows("h1", customer)
	labels := []string{
		"<img src=x onerror=\"document.title='gone'\"><script>alert(1)</script>", "日本のお茶 🍵 \u200fשלום\u200f e\u0301", strings.Repeat("wide", 50), "</li></ul>&amp;",
	}
	for i, label := range labels {
		u.paste("Item", label)
		u.fill("Price", fmt.Sprintf("1.0%d", i)+kb.Enter)
		u.has("CHEAP", i+1)
		u.sees("the label is as it was typed", fmt.Sprintf(`[...document.querySelectorAll("[data-bucket=CHEAP] .label")].some((one) => one.firstChild.data === %s)`, quoted(label)))
	}
	u.sees("nothing of it is markup", `!document.querySelector("main img, main script, main i") && document.title.includes("Ordering")`)
	// As prices stand in other programs.
	for typed, shown := range map[string]string{"£1,234.50": "£1,234.50", " 60 ": "£60.00", "1,000,000": "£1,000,000.00", "\u00a051.5\u00a0": "£51.50", "GBP 99.99": "£99.99"} {
		u.fill("Item", "Pasted")
		u.paste("Price", typed)
		u.press(kb.Enter)
		u.shows("[data-bucket=EXPENSIVE]", shown)
	}
	u.has("EXPENSIVE", 5)
	for typed, told := range map[string]string{
		"4,99": "Enter a price in pounds", "1.234,50": "Enter a price in pounds", "1e3": "Enter a price in pounds", "five": "Enter a price in pounds",
		"-1": "cannot be negative", "0.001": "at most two places", "1000000.01": "more than £1,000,000.00", "€5": "Enter a price in pounds", "": "Enter a price in pounds",
	} {
		u.fill("Item", "Air")
		u.fill("Price", kb.Delete)
		u.paste("Price", typed)
		u.press(kb.Enter)
		u.shows(".place .problem", told)
	}
	u.fill("Item", "Once")
	u.fill("Price", "20.00")
	u.doubleClick("Order")
	u.shows("[data-bucket=AFFORDABLE]", "Once")
	u.order("Last", "21.00")
	u.has("AFFORDABLE", 2)
	u.sees("there is no complaint of an empty form", `!document.querySelector(".place .problem")`)
	u.phone()
	u.screenshot("ordering-odd-phone")
	u.readable()
}

// quoted writes a text as JavaScript has it.
func quoted(text string) string {
	encoded, err := json.Marshal(text)
	if err != nil {
		panic(err) // a text can always be written
	}
	return string(encoded)
}

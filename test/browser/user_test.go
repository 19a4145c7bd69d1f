package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// user is a person with a browser of their own: nothing is shared with other users but the server. Methods are for the
// test's goroutine.
type user struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	complaints []string // guarded by mu: what the browser logged as an error
	offline    bool     // guarded by mu: while set, requests that get no answer are no fault of the page
}

// newUser opens a browser window of 1280 by 900 pixels.
func newUser(t *testing.T) *user {
	t.Helper()
	return newWindow(t, chromium.start(t), chromedp.WithNewBrowserContext())
}

// tab opens another tab of the same browser: its connections are those of all tabs.
func (u *user) tab() *user {
	u.t.Helper()
	return newWindow(u.t, u.ctx)
}

func newWindow(t *testing.T, parent context.Context, options ...chromedp.ContextOption) *user {
	t.Helper()
	u := &user{t: t}
	ctx, cancel := chromedp.NewContext(parent, append(options, chromedp.WithListener(u.listen))...)
	u.ctx = ctx
	t.Cleanup(func() {
		u.checkComplaints()
		if t.Failed() {
			u.screenshot("failed-" + strings.ReplaceAll(t.Name(), "/", "-"))
		}
		cancel()
	})
	// The first call makes the window, which ends with the context that it is given: the user's own, not one with a deadline.
	if _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); err != nil {
		t.Fatalf("opening a window: %v", err)
	}
	u.do(chromedp.EmulateViewport(1280, 900))
	return u
}

// listen gathers what must not be: errors on the console, exceptions nobody caught, and what the policy refused.
func (u *user) listen(event any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch event := event.(type) {
	case *runtime.EventExceptionThrown:
		u.complaints = append(u.complaints, fmt.Sprintf("exception: %+v", event.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		if event.Type == runtime.ConsoleAPICalledTypeError || event.Type == runtime.ConsoleAPICalledTypeWarning || event.Type == runtime.ConsoleAPICalledTypeAssert {
			text, _ := json.Marshal(event.Args)
			u.complaints = append(u.complaints, fmt.Sprintf("console.%s: %s", event.Type, text))
		}
	case *log.EventEntryAdded:
		if u.offline && event.Entry.Source == log.EntrySourceNetwork {
			return
		}
		if event.Entry.Level == log.EntryLevelError || event.Entry.Level == log.EntryLevelWarning {
			u.complaints = append(u.complaints, fmt.Sprintf("%s: %s %s", event.Entry.Source, event.Entry.Text, event.Entry.URL))
		}
	}
}

// serverGone says that the server is away on purpose: the browser logs every request that gets no answer.
func (u *user) serverGone(gone bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.offline = gone
}

func (u *user) checkComplaints() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, complaint := range u.complaints {
		u.t.Errorf("the browser complains: %s", complaint)
	}
}

// do carries out actions, within the patience.
func (u *user) do(actions ...chromedp.Action[chromedp.Void]) {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		u.t.Fatal(err)
	}
}

// eval evaluates an expression in the page.
func eval[T any](u *user, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(u.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression))
}

// open loads a page.
func (u *user) open(url string) {
	u.t.Helper()
	u.do(chromedp.Navigate(url))
}

// sees waits until an expression is true in the page.
func (u *user) sees(what, expression string) {
	u.t.Helper()
	eventually(u.t, what, func() error {
		seen, err := eval[bool](u, "Boolean("+expression+")")
		if err == nil && !seen {
			err = errors.New(expression)
		}
		return err
	})
}

// shows waits until an element shows a text.
func (u *user) shows(selector, text string) {
	u.t.Helper()
	u.sees(fmt.Sprintf("%s shows %q", selector, text), fmt.Sprintf("(document.querySelector(%q)?.innerText ?? '').includes(%q)", selector, text))
}

// fill types into the field of a label.
func (u *user) fill(label, text string) {
	u.t.Helper()
	u.enter(label)
	u.press(text)
}

// paste puts a text into the field of a label at once, as from the clipboard or an input method.
func (u *user) paste(label, text string) {
	u.t.Helper()
	u.enter(label)
	if _, err := chromedp.Call(u.ctx, input.InsertText, input.InsertTextParams{Text: text}); err != nil {
		u.t.Fatal(err)
	}
}

// enter gives the field of a label the focus, with what is in it selected.
func (u *user) enter(label string) {
	u.t.Helper()
	u.sees("there is a field "+label, fmt.Sprintf(`(() => {
		const label = [...document.querySelectorAll("label")].find((one) => one.innerText.trim() === %q);
		if (!label?.control) return false;
		label.control.focus();
		label.control.select();
		return true;
	})()`, label))
}

// press types keys wherever the focus is.
func (u *user) press(keys string) {
	u.t.Helper()
	u.do(chromedp.KeyEvent(keys))
}

// click presses a button by its words, as a mouse does.
func (u *user) click(words string) {
	u.t.Helper()
	find := fmt.Sprintf(`[...document.querySelectorAll("button:not(:disabled), a")].find((one) => one.innerText.trim() === %q || one.ariaLabel === %q)`, words, words)
	u.sees("there is "+words+" to click", find)
	u.do(chromedp.Click(chromedp.JSPath(find)))
}

// doubleClick presses a button twice, as quickly as a mouse does.
func (u *user) doubleClick(words string) {
	u.t.Helper()
	find := fmt.Sprintf(`[...document.querySelectorAll("button:not(:disabled)")].find((one) => one.innerText.trim() === %q)`, words)
	u.sees("there is "+words+" to click", find)
	u.do(chromedp.DoubleClick(chromedp.JSPath(find)))
}

// hash returns what the address has behind the page's own.
func (u *user) hash() string {
	u.t.Helper()
	hash, err := eval[string](u, "location.hash")
	if err != nil {
		u.t.Fatal(err)
	}
	return hash
}

// tabTo presses the tab key until an element has the focus.
func (u *user) tabTo(selector string) {
	u.t.Helper()
	for range 60 {
		u.press(kb.Tab)
		there, err := eval[bool](u, fmt.Sprintf("document.activeElement?.matches(%q) ?? false", selector))
		if err != nil {
			u.t.Fatal(err)
		}
		if there {
			return
		}
	}
	u.t.Fatalf("the tab key does not lead to %s", selector)
}

// pastNavigation takes the way past the navigation, by keyboard. What the page shows stays what it was.
func (u *user) pastNavigation() {
	u.t.Helper()
	before := u.hash()
	if before == "" {
		u.t.Fatal("the address names nothing that could be lost")
	}
	u.sees("the way past the navigation has the focus", `(document.querySelector(".skip").focus(), document.activeElement?.matches(".skip"))`)
	u.press(kb.Enter)
	u.sees("the focus is past the navigation", `document.activeElement?.matches("main")`)
	if after := u.hash(); after != before {
		u.t.Errorf("the address ends with %q, and ended with %q before", after, before)
	}
}

// dark turns the dark colours on.
func (u *user) dark() {
	u.t.Helper()
	dark := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}}
	if _, err := chromedp.Call(u.ctx, emulation.SetEmulatedMedia, dark); err != nil {
		u.t.Fatal(err)
	}
}

// phone makes the window that of a small phone, and checks that nothing sticks out of it.
func (u *user) phone() {
	u.t.Helper()
	u.do(chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile, chromedp.EmulateTouch))
	u.sees("the page is no wider than the phone", "document.documentElement.scrollWidth <= 360")
}

// screenshot keeps the whole page as an image.
func (u *user) screenshot(name string) {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.ctx, patience)
	defer cancel()
	image, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		u.t.Logf("no screenshot %s: %v", name, err)
		return
	}
	err = os.MkdirAll(screenshots, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(screenshots, name+".png"), image, 0o644)
	}
	if err != nil {
		u.t.Errorf("keeping the screenshot %s: %v", name, err)
	}
}

// readable checks the contrast of everything that is written on the page, and that every control has a name.
func (u *user) readable() {
	u.t.Helper()
	faults, err := eval[[]string](u, unreadable)
	if err != nil {
		u.t.Fatal(err)
	}
	slices.Sort(faults)
	for _, fault := range slices.Compact(faults) {
		u.t.Errorf("not readable by all: %s", fault)
	}
}

// unreadable lists what is wrong with the page by WCAG 2.2, 1.4.3 and 4.1.2.
const unreadable = `(() => {
	const faults = [];
	const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
	const rgba = (colour) => {
		canvas.clearRect(0, 0, 1, 1);
		canvas.fillStyle = colour;
		canvas.fillRect(0, 0, 1, 1);
		return [...canvas.getImageData(0, 0, 1, 1).data];
	};
	const luminance = ([r, g, b]) => {
		const linear = [r, g, b].map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
		return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
	};
	const ground = (element) => {
		for (let at = element; at; at = at.parentElement) {
			const colour = rgba(getComputedStyle(at).backgroundColor);
			if (colour[3] === 255) return colour;
		}
		return [255, 255, 255, 255];
	};
	for (const element of document.querySelectorAll("body *")) {
		const style = getComputedStyle(element);
		const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== "");
		if (!own || element.closest(".sr-only, .skip, :disabled, [aria-hidden=true]") || !element.checkVisibility()) continue;
		const [a, b] = [luminance(rgba(style.color)), luminance(ground(element))].sort((x, y) => y - x);
		const ratio = (a + 0.05) / (b + 0.05);
		const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
		if (ratio < (large ? 3 : 4.5)) faults.push(element.tagName + "." + element.className + ": contrast " + ratio.toFixed(2));
	}
	for (const control of document.querySelectorAll("button, a, input, select")) {
		const label = control.ariaLabel || control.innerText || control.labels?.[0]?.innerText || control.textContent;
		if (!label?.trim()) faults.push(control.outerHTML.slice(0, 80) + " has no name");
	}
	if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
	if (!document.documentElement.lang) faults.push("no language");
	return faults;
})()`

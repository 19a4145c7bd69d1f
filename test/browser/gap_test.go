package browser

import (
	"fmt"
	"slices"
	"testing"
)

// gapCount is how many commands the gap is measured over.
const gapCount = 200

// gapScript sends commands by the page's own form, one after another, and notes the milliseconds from each request's start to
// the frame in which its effect is drawn.
const gapScript = `((count, form, fields, seen) => {
	const send = window.fetch;
	let sent = 0;
	window.fetch = (path, init) => {
		if (init?.method === "POST" || init?.method === "PUT") sent = performance.now();
		return send(path, init);
	};
	const put = (input, text) => {
		Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(input, text);
		input.dispatchEvent(new Event("input", { bubbles: true }));
	};
	window.gaps = [];
	const next = (i) => {
		if (i === count) return;
		const inputs = document.querySelectorAll(form + " input");
		fields(i).forEach((text, at) => put(inputs[at], text));
		const watch = new MutationObserver(() => {
			if (!seen(i)) return;
			watch.disconnect();
			requestAnimationFrame(() => {
				window.gaps.push(performance.now() - sent);
				setTimeout(next, 0, i + 1);
			});
		});
		watch.observe(document.body, { subtree: true, childList: true, characterData: true });
		setTimeout(() => document.querySelector(form).requestSubmit());
	};
	next(0);
	return true;
})`

// gap measures from the request to the drawn effect, and tells the median and the 99th percentile.
func (u *user) gap(what, form, fields, seen string) {
	u.t.Helper()
	if _, err := eval[bool](u, fmt.Sprintf("%s(%d, %q, %s, %s)", gapScript, gapCount, form, fields, seen)); err != nil {
		u.t.Fatal(err)
	}
	for done := 10; done <= gapCount; done += 10 {
		u.sees(fmt.Sprintf("%d of %s", done, what), fmt.Sprintf("window.gaps.length >= %d", done))
	}
	gaps, err := eval[[]float64](u, "window.gaps")
	if err != nil {
		u.t.Fatal(err)
	}
	slices.Sort(gaps)
	u.t.Logf("%s, from the request to the frame that shows it, %d times: %.1f ms p50, %.1f ms p99, %.1f ms at most",
		what, len(gaps), gaps[len(gaps)/2], gaps[len(gaps)*99/100], gaps[len(gaps)-1])
}

// TestGap places orders and changes a value, each once the one before is shown, and tells how long that takes to be seen.
func TestGap(t *testing.T) {
	chromium.start(t)
	s := shared(t)
	t.Run("ordering", func(t *testing.T) {
		u := newUser(t)
		u.door(s.page, unique("gap"))
		u.has("CHEAP", 0)
		u.gap("an order in its bucket", ".place", "(i) => [`Gap ${i}`, \"1.23\"]",
			"(i) => document.querySelector(\"[data-bucket=CHEAP] [data-order] .label\")?.firstChild.data === `Gap ${i}`")
		u.sums("CHEAP", gapCount, 20, fmt.Sprintf("%.2f", 1.23*gapCount))
	})
	t.Run("calculator", func(t *testing.T) {
		u := newUser(t)
		u.open(s.calculator)
		u.create("0", "0.0")
		u.steps(1)
		u.gap("a value's change", ".change", "() => [\"1\"]", "(i) => document.querySelector(\".result\").dataset.value === `${i + 1}.0`")
		u.shows(".history tbody tr", fmt.Sprintf("%d.0", gapCount))
	})
}

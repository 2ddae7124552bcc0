package notifier_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drawdown/notifier"
	"drawdown/rating"
	"drawdown/writers/page/pagetest"
)

// shown is a mail as a browser of some width has laid it out.
type shown struct {
	Name          string
	Width, Scroll int      // of the window, and of what is in it
	Faint         []string // texts that are hard to read on their ground: less than 4.5 to 1
	Bars          []float64
}

// measure is run in the browser: it shows each mail in a frame of its own, and writes down what it measures there.
const measure = `<!DOCTYPE html><meta charset="utf-8"><body><script>
const mails = MAILS, found = [];
const channel = v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const parse = c => c.match(/[\d.]+/g).map(Number);
const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
const ground = (w, e) => { for (; e; e = e.parentElement) { const c = parse(w.getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
const wait = f => new Promise(done => { f.onload = done; });
(async () => {
	for (const m of mails) {
		const f = document.createElement("iframe");
		f.style = "border:0;width:" + m.Width + "px;height:900px";
		f.srcdoc = m.HTML;
		const loaded = wait(f);
		document.body.append(f);
		await loaded;
		const w = f.contentWindow, d = f.contentDocument, faint = [], bars = [];
		for (const e of d.querySelectorAll("body *")) {
			const text = [...e.childNodes].filter(n => n.nodeType == 3).map(n => n.data).join("").trim();
			if (text && e.getClientRects().length) {
				const a = light(parse(w.getComputedStyle(e).color)), b = light(ground(w, e));
				if ((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5) faint.push(text);
			}
		}
		for (const t of d.querySelectorAll(".track")) {
			const filled = t.querySelector("td[width]");
			bars.push(filled ? 100 * filled.getBoundingClientRect().width / t.getBoundingClientRect().width : 0);
		}
		found.push({Name: m.Name, Width: m.Width, Scroll: d.documentElement.scrollWidth, Faint: faint, Bars: bars});
		f.remove();
	}
	const out = document.createElement("pre");
	out.id = "found";
	out.textContent = JSON.stringify(found);
	document.body.append(out);
})();
</script></body>`

// TestMailsInABrowser: at the width of a desk and of a phone, in the light and in the dark, nothing of a mail sticks out, all
// can be read, and a bar is as long as it says.
func TestMailsInABrowser(t *testing.T) {
	t.Parallel()
	browser := pagetest.Chromium(t)
	type mail struct {
		Name  string
		Width int
		HTML  string
	}
	var mails []mail
	want := map[string]float64{}
	add := func(name string, m *notifier.Message, bar float64) {
		want[name] = bar
		for _, width := range []int{320, 390, 900} {
			mails = append(mails, mail{name, width, m.HTML})
		}
	}
	w := words(t)
	for _, locale := range w.Locales() {
		for _, kind := range append(notifier.Kinds(), notifier.Digest) {
			m, err := w.Sample(kind, notifier.ChannelEmail, locale, nil)
			if err != nil {
				t.Fatal(err)
			}
			bar := -1.0
			if kind == "usage_alert" || kind == notifier.Digest {
				bar = 19
			}
			add(kind+" "+locale, m, bar)
		}
	}
	for name, n := range map[string]notifier.Notice{
		"used up":   {Percentage: true, Threshold: "0", Remaining: "0", Quota: "10"},
		"full":      {Threshold: "10", Remaining: "10", Quota: "10"},
		"a trace":   {Percentage: true, Threshold: "20", Remaining: "1", Quota: "1000000"},
		"rolled":    {Percentage: true, Threshold: "50", Remaining: "9", Quota: "10"},
		"long name": {Percentage: true, Threshold: "50", Remaining: "5", Quota: "10", PackageName: strings.Repeat("averyverylongname", 6), Package: strings.Repeat("套餐", 50)},
	} {
		n.Kind, n.Account, n.Unit, n.At = "usage_alert", "acme", "GB", rating.Instant(86400e6)
		m, err := w.Compose([]notifier.Notice{n}, &notifier.Contact{Account: "acme", Zone: time.UTC}, notifier.ChannelEmail)
		if err != nil {
			t.Fatal(err)
		}
		add(name, m, map[string]float64{"used up": 0, "full": 100, "a trace": 1, "rolled": 50, "long name": 50}[name])
	}
	list, err := json.Marshal(mails)
	if err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(t.TempDir(), "mails.html")
	if err := os.WriteFile(page, []byte(strings.Replace(measure, "MAILS", string(list), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for scheme, setting := range map[string]string{"light": "1", "dark": "0"} {
		for _, s := range pagetest.Measured[shown](t, browser, page, setting) {
			if s.Scroll > s.Width {
				t.Errorf("%s, %s: it is %d pixels wide in a window of %d", s.Name, scheme, s.Scroll, s.Width)
			}
			if len(s.Faint) > 0 {
				t.Errorf("%s, %s: hard to read: %q", s.Name, scheme, s.Faint)
			}
			bar := want[s.Name]
			if (len(s.Bars) == 1) != (bar >= 0) || bar >= 0 && (s.Bars[0] < bar-1 || s.Bars[0] > bar+1) {
				t.Errorf("%s, %s: bars %v, want %v", s.Name, scheme, s.Bars, bar)
			}
		}
	}
}

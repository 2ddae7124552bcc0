package page_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"drawdown/writers/page/pagetest"
)

// shown is a page as a browser of some width has laid it out.
type shown struct {
	Name          string
	Width, Scroll int      // of the window, and of what is in it
	Faint         []string // texts that are hard to read on their ground: less than 4.5 to 1
	Mute          []string // what a screen reader could not name
	Small         []string // letters of plots below 9 pixels
	Outside       []string // letters that stand outside of their plot
	Plots         int
	Broken        bool // a name has done something
}

// measure is run in the browser: it shows each page in a frame of its own, and writes down what it measures there.
const measure = `<!DOCTYPE html><meta charset="utf-8"><body><script>
const pages = PAGES, found = [];
const channel = v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const parse = c => c.match(/[\d.]+/g).map(Number);
const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
const ground = (w, e) => { for (; e; e = e.parentElement) { const c = parse(w.getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
const own = e => [...e.childNodes].filter(n => n.nodeType == 3).map(n => n.data).join("").trim();
(async () => {
	for (const p of pages) {
		const f = document.createElement("iframe");
		f.style = "border:0;width:" + p.Width + "px;height:900px";
		f.srcdoc = p.HTML;
		const loaded = new Promise(done => { f.onload = done; });
		document.body.append(f);
		await loaded;
		const w = f.contentWindow, d = f.contentDocument, faint = [], mute = [], small = [], outside = [];
		for (const e of d.querySelectorAll("details")) e.open = true;
		for (const e of d.querySelectorAll("body *")) {
			const text = own(e);
			if (!text || !e.getClientRects().length || e.matches("title, desc")) continue;
			const style = w.getComputedStyle(e);
			const a = light(parse(e.matches("svg text") ? style.fill : style.color)), b = light(ground(w, e));
			if ((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5) faint.push(text);
		}
		const name = e => e.getAttribute("aria-label") || (e.getAttribute("aria-labelledby") || "").split(" ").filter(Boolean).map(i => d.getElementById(i)?.textContent.trim()).join(" ");
		for (const e of d.querySelectorAll("svg:not([aria-hidden]), [role=region], section, nav, ul.key")) if (!name(e)) mute.push(e.outerHTML.slice(0, 80));
		for (const e of d.querySelectorAll("thead th")) if (e.scope != "col" || !e.textContent.trim()) mute.push(e.outerHTML);
		for (const e of d.querySelectorAll("tbody tr")) if (!e.querySelector("th[scope=row]")) mute.push(e.outerHTML.slice(0, 80));
		for (const e of d.querySelectorAll(".wide")) if (e.tabIndex != 0) mute.push("not reached by keyboard: " + name(e));
		if (!d.documentElement.lang || !d.title || d.querySelectorAll("h1").length != 1 || d.querySelectorAll("main").length != 1) mute.push("the page itself");
		const ids = [...d.querySelectorAll("[id]")].map(e => e.id);
		if (new Set(ids).size != ids.length) mute.push("an id stands twice");
		const plots = d.querySelectorAll("svg.plot");
		for (const s of plots) {
			const box = s.getBoundingClientRect(), letter = parseFloat(w.getComputedStyle(s.querySelector("text")).fontSize) * box.width / 360;
			if (letter < 9) small.push(letter + " in " + name(s).slice(0, 60));
			for (const t of s.querySelectorAll("text")) {
				const r = t.getBoundingClientRect();
				if (r.left < box.left - 1 || r.right > box.right + 1 || r.top < box.top - 1 || r.bottom > box.bottom + 1) outside.push(t.textContent + " in " + name(s).slice(0, 60));
			}
		}
		if (d.querySelector("script, img, iframe, link, object") || [...d.querySelectorAll("*")].some(e => [...e.attributes].some(a => a.name.startsWith("on")))) window.broken = true;
		found.push({Name: p.Name, Width: p.Width, Scroll: d.documentElement.scrollWidth, Faint: faint, Mute: mute, Small: small, Outside: outside, Plots: plots.length, Broken: !!window.broken});
		f.remove();
	}
	const out = document.createElement("pre");
	out.id = "found";
	out.textContent = JSON.stringify(found);
	document.body.append(out);
})();
</script></body>`

// TestPagesInABrowser: at the width of a desk, a tablet and a phone, in the light and in the dark, nothing sticks out, all can
// be read, also by a screen reader, and hostile names do nothing.
func TestPagesInABrowser(t *testing.T) {
	t.Parallel()
	browser := pagetest.Chromium(t)
	type shownPage struct {
		Name  string
		Width int
		HTML  string
	}
	var list []shownPage
	for name, text := range pages(t) {
		for _, width := range []int{320, 390, 768, 1280} {
			list = append(list, shownPage{name, width, text})
		}
	}
	content, err := json.Marshal(list) // escapes <, so that no page ends the script
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pages.html")
	if err := os.WriteFile(file, []byte(strings.Replace(measure, "PAGES", string(content), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for scheme, setting := range map[string]string{"light": "1", "dark": "0"} {
		results := pagetest.Measured[shown](t, browser, file, setting)
		if len(results) != len(list) {
			t.Errorf("%d of %d pages were shown", len(results), len(list))
		}
		for _, s := range results {
			if s.Scroll > s.Width {
				t.Errorf("%s, %s: it is %d pixels wide in a window of %d", s.Name, scheme, s.Scroll, s.Width)
			}
			for what, faults := range map[string][]string{"hard to read": s.Faint, "without a name": s.Mute, "too small": s.Small, "outside": s.Outside} {
				if n := len(faults); n > 0 {
					t.Errorf("%s, %s, %d pixels: %d %s: %q", s.Name, scheme, s.Width, n, what, faults[:min(n, 5)])
				}
			}
			if s.Broken {
				t.Errorf("%s, %s: a name has done something", s.Name, scheme)
			}
			if s.Plots == 0 && !strings.HasPrefix(s.Name, "empty") {
				t.Errorf("%s has no plots", s.Name)
			}
		}
	}
}

// TestPagesArePrinted: each page becomes a PDF of some sheets.
func TestPagesArePrinted(t *testing.T) {
	t.Parallel()
	browser, sheet := pagetest.Chromium(t), regexp.MustCompile(`/Type\s*/Page\b`)
	for name, text := range pages(t) {
		dir := t.TempDir()
		page, printed := filepath.Join(dir, "page.html"), filepath.Join(dir, "page.pdf")
		if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		pagetest.Browse(t, browser, "--no-pdf-header-footer", "--print-to-pdf="+printed, "file://"+page)
		content, err := os.ReadFile(printed)
		if err != nil {
			t.Fatal(err)
		}
		if sheets := len(sheet.FindAll(content, -1)); sheets < 1 || sheets > 25 {
			t.Errorf("%s: %d sheets", name, sheets)
		}
	}
}

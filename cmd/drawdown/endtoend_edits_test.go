package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// edited is what may happen to a site.
type edited struct {
	what string
	do   func(s *site, w *world, random *rand.Rand)
}

func edits() []edited { return append(siteEdits(), usageEdits()...) }

func siteEdits() []edited {
	account := func(s *site, w *world, random *rand.Rand) string {
		return w.catalog["accounts"][random.IntN(len(w.catalog["accounts"]))].(map[string]any)["id"].(string)
	}
	usage := func(s *site, w *world, name, account string, random *rand.Rand) {
		text := ""
		for range 1 + random.IntN(3) {
			text += fmt.Sprintf(`{"id": "late-%d", "account": %q, "meter": "calls", "quantity": %d, "time": %q}`+"\n", random.IntN(1000), account,
				random.IntN(5), spell(w.start.AddDate(0, 0, random.IntN(4)).Add(3600e9)))
		}
		s.write("usage/"+name, []byte(text))
	}
	apply := func(s *site, w *world, yaml string) {
		s.write("edit.yaml", []byte(yaml))
		if code, out := s.run(s.t.(*testing.T), w.later(), "catalog", "apply", s.path("edit.yaml")); code != exitDone && code != exitWaiting {
			s.t.Fatal(out)
		}
	}
	return []edited{
		{"nothing", func(*site, *world, *rand.Rand) {}},
		{"a late object of one account", func(s *site, w *world, random *rand.Rand) {
			usage(s, w, fmt.Sprintf("late-%d.ndjson", random.IntN(1000)), account(s, w, random), random)
		}},
		{"an object is replaced", func(s *site, w *world, random *rand.Rand) {
			usage(s, w, "late-x.ndjson", account(s, w, random), random)
		}},
		{"an object that was there is gone", func(s *site, w *world, random *rand.Rand) {
			_ = os.Remove(s.path("usage/late-x.ndjson")) // it may never have come
		}},
		{"an object is touched", func(s *site, w *world, random *rand.Rand) {
			for i := range w.objects {
				if content, err := os.ReadFile(s.path("usage/" + w.objects[i].name)); err == nil {
					s.write("usage/"+w.objects[i].name, content)
				}
			}
		}},
		{"a part of the world comes late", func(s *site, w *world, random *rand.Rand) {
			for i := range w.objects {
				s.write("usage/"+w.objects[i].name, w.objects[i].content(s.t))
			}
		}},
		{"settled records are sent again, some of them changed", func(s *site, w *world, random *rand.Rand) {
			text := ""
			for range 1 + random.IntN(4) {
				rows := w.objects[random.IntN(len(w.objects))].rows
				row := rows[random.IntN(len(rows))]
				switch random.IntN(4) {
				case 0:
					row.Quantity = "3"
				case 1:
					row.Version, row.Quantity = row.Version+1, "0"
				case 2:
					row.ID = "again-" + row.ID
				}
				if row.text == "" {
					text += fmt.Sprintf(`{"id": %q, "account": %q, "meter": %q, "quantity": %q, "time": %q, "version": %d}`+"\n",
						row.ID, row.Account, row.Meter, row.Quantity, row.Time, row.Version)
				}
			}
			s.write(fmt.Sprintf("usage/again-%d.ndjson", random.IntN(1000)), []byte(text))
		}},
		{"a package is bought for the past", func(s *site, w *world, random *rand.Rand) {
			apply(s, w, fmt.Sprintf("packages: [{id: bought-%d, account: %s, kind: pay_per_use, quota: 7, effective: %q, expires: 2027-02-01, covers: [{meter: calls}]}]",
				random.IntN(1000), account(s, w, random), spell(w.start.AddDate(0, 0, random.IntN(3)))))
		}},
		{"an account comes, that had usage", func(s *site, w *world, random *rand.Rand) {
			usage(s, w, fmt.Sprintf("stranger-%d.ndjson", random.IntN(1000)), "stranger", random)
			if random.IntN(2) == 0 {
				apply(s, w, "accounts: [{id: stranger}]")
			}
		}},
		{"names change", func(s *site, w *world, random *rand.Rand) {
			apply(s, w, "accounts: [{id: bystander, name: somebody "+fmt.Sprint(random.IntN(9))+"}]")
		}},
		{"an alert rule of an account", func(s *site, w *world, random *rand.Rand) {
			apply(s, w, fmt.Sprintf("accounts: [{id: bystander}]\nalert_rules: [{id: edit, account: bystander, type: percentage, thresholds: [%d]}]", 1+random.IntN(90)))
		}},
		{"a price changes", func(s *site, w *world, random *rand.Rand) {
			text := string(w.catalogYAML(s.t))
			price := regexp.MustCompile(`price: "?0\.\d`)
			n := 0
			edit := price.ReplaceAllStringFunc(text, func(old string) string {
				if n++; n == 1+random.IntN(2) {
					return strings.Replace(old, "0.", fmt.Sprintf("%d.", 1+random.IntN(3)), 1)
				}
				return old
			})
			s.write("catalog.yaml", []byte(edit))
		}},
	}
}

// usageEdits are about what new objects hold, and how it meets what was settled.
func usageEdits() []edited {
	return []edited{
		{"records that meet each other", func(s *site, w *world, random *rand.Rand) {
			s.comes(random, w.line(random, nil), w.line(random, nil), w.line(random, nil))
		}},
		{"versions, some of them spoilt", func(s *site, w *world, random *rand.Rand) {
			var lines []string
			for range 4 {
				row := fields{"version": random.IntN(4)}
				switch random.IntN(6) {
				case 0:
					row["quantity"] = -1
				case 1:
					row["version"] = "y"
				case 2:
					row["meter"] = "nothing"
				}
				lines = append(lines, w.line(random, row))
			}
			s.comes(random, lines...)
		}},
		{"nothing but faults", func(s *site, w *world, random *rand.Rand) {
			faults := []fields{{"time": "yesterday"}, {"time": nil}, {"account": "nobody"}, {"quantity": nil}, {"id": nil}, {"account": nil}}
			s.comes(random, w.line(random, faults[random.IntN(len(faults))]), `{"id": "broken`)
		}},
		{"a row of the future", func(s *site, w *world, random *rand.Rand) {
			s.comes(random, w.line(random, nil), w.line(random, fields{"time": "2099-01-01T00:00:00Z"}))
		}},
		{"nothing", func(s *site, w *world, random *rand.Rand) { s.comes(random) }},
		{"an object is bad, whole, or gone", func(s *site, w *world, random *rand.Rand) {
			content := gzipped(s.t, w.line(random, nil))
			switch random.IntN(3) {
			case 0:
				s.write("usage/bad.ndjson.gz", content[:len(content)-5])
			case 1:
				s.write("usage/bad.ndjson.gz", content)
			default:
				_ = os.Remove(s.path("usage/bad.ndjson.gz"))
			}
		}},
		{"the payer of an account changes", func(s *site, w *world, random *rand.Rand) {
			s.write("edit.yaml", fmt.Appendf(nil, "accounts: [{id: solo, payer: %s}]", w.pickFrom(random, "acme", "beta", "gamma", "solo")))
			_, _ = s.run(s.t.(*testing.T), w.later(), "catalog", "apply", s.path("edit.yaml")) // R5.3 may forbid it
			s.comes(random, w.line(random, fields{"account": "solo"}))
		}},
		{"an account's own price", func(s *site, w *world, random *rand.Rand) {
			s.write("edit.yaml", fmt.Appendf(nil, `prices: [{id: own, meter: calls, account: delta, model: flat, price: "0.%d", currency: USD, from: %s}]`,
				1+random.IntN(9), w.start.AddDate(0, 0, random.IntN(4)).Format(time.DateOnly)))
			_, _ = s.run(s.t.(*testing.T), w.later(), "catalog", "apply", s.path("edit.yaml"))
		}},
		{"the same usage under other ids", func(s *site, w *world, random *rand.Rand) {
			var lines []string
			for range 3 {
				rows := w.objects[random.IntN(len(w.objects))].rows
				if r := rows[random.IntN(len(rows))]; r.text == "" && r.ID != "" {
					lines = append(lines, w.line(random, fields{"id": fmt.Sprint(random.IntN(9), r.ID), "account": r.Account, "meter": r.Meter, "quantity": r.Quantity, "time": r.Time}))
				}
			}
			s.comes(random, lines...)
		}},
	}
}

// line is a row of one of few ids, so that some of them meet; what is nil is left out.
func (w *world) line(random *rand.Rand, with fields) string {
	row := fields{
		"id": fmt.Sprint("x", random.IntN(60)), "account": w.pickFrom(random, worldAccounts...), "meter": w.pickFrom(random, worldMeters...),
		"quantity": random.IntN(9), "time": spell(w.start.AddDate(0, 0, random.IntN(4)).Add(time.Duration(random.IntN(3)) * time.Hour)),
	}
	maps.Copy(row, with)
	maps.DeleteFunc(row, func(_ string, value any) bool { return value == nil })
	text, err := json.Marshal(row)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func (w *world) pickFrom(random *rand.Rand, from ...string) string {
	return from[random.IntN(len(from))]
}

// comes puts a new object before, among or behind those that are there.
func (s *site) comes(random *rand.Rand, lines ...string) {
	s.t.Helper()
	text := ""
	for _, line := range lines {
		text += line + "\n"
	}
	s.write(fmt.Sprintf("usage/%c-%d.ndjson", "amz"[random.IntN(3)], random.IntN(100_000)), []byte(text))
}

func gzipped(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte(text))
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

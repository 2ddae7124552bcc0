package schedule

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"drawdown/rating"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func zoneOf(t testing.TB, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func entryOf(t testing.TB, text, zone string) Entry {
	t.Helper()
	e, err := Parse(text, zoneOf(t, zone))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func instant(t testing.TB, text string) rating.Instant {
	t.Helper()
	at, err := rating.ParseInstant([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestNextWhereTheClockIsSet has the days on which robfig/cron skips, doubles, or leaves out the day.
func TestNextWhereTheClockIsSet(t *testing.T) {
	for _, c := range []struct{ zone, entry, after, want string }{
		{"UTC", "15 * * * *", "2026-10-01T00:15:00Z", "2026-10-01T01:15:00Z 2026-10-01T02:15:00Z"},
		{"UTC", "0 2 29 2 *", "2096-03-01T00:00:00Z", "2104-02-29T02:00:00Z"},
		{"UTC", "0 0 13 * 5", "2026-11-01T00:00:00Z", "2026-11-06T00:00:00Z 2026-11-13T00:00:00Z 2026-11-20T00:00:00Z"}, // either of the two
		{"UTC", "@every 90m", "2026-10-01T00:00:00Z", "2026-10-01T01:30:00Z 2026-10-01T03:00:00Z"},
		// The clock goes from 2 to 3: half past two is at three.
		{"Europe/Berlin", "30 2 * * *", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z 2026-03-30T00:30:00Z"},
		{"Europe/Berlin", "*/20 2 * * *", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z 2026-03-30T00:00:00Z"},
		{"America/New_York", "30 2 * * *", "2025-03-08T12:00:00Z", "2025-03-09T07:00:00Z 2025-03-10T06:30:00Z"},
		// It goes back from 3 to 2: half past two is the first of the two.
		{"Europe/Berlin", "30 2 * * *", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z 2026-10-26T01:30:00Z"},
		{"America/New_York", "30 1 * * *", "2025-11-01T12:00:00Z", "2025-11-02T05:30:00Z 2025-11-03T06:30:00Z"},
		// But what is to be every hour is in both.
		{"Europe/Berlin", "30 * * * *", "2026-10-24T23:30:00Z", "2026-10-25T00:30:00Z 2026-10-25T01:30:00Z 2026-10-25T02:30:00Z"},
		// Midnight does not exist.
		{"America/Sao_Paulo", "0 0 * * *", "2018-11-03T12:00:00Z", "2018-11-04T03:00:00Z 2018-11-05T02:00:00Z"},
		{"Africa/Cairo", "0 0 * * *", "2024-04-25T12:00:00Z", "2024-04-25T22:00:00Z 2024-04-26T21:00:00Z"},
		{"Asia/Beirut", "0 0 * * *", "2025-03-29T12:00:00Z", "2025-03-29T22:00:00Z 2025-03-30T21:00:00Z"},
		// The clock goes back over midnight: the day has begun already.
		{"America/Sao_Paulo", "0 0 * * *", "2018-02-17T12:00:00Z", "2018-02-18T03:00:00Z"},
		{"Africa/Cairo", "30 23 * * *", "2024-10-31T12:00:00Z", "2024-10-31T20:30:00Z 2024-11-01T21:30:00Z"},
		// The clock is set by half an hour, and a day is left out altogether.
		{"Australia/Lord_Howe", "15 2 * * *", "2025-10-04T02:00:00Z", "2025-10-04T15:30:00Z 2025-10-05T15:15:00Z"},
		{"Pacific/Apia", "0 9 * * *", "2011-12-29T12:00:00Z", "2011-12-29T19:00:00Z 2011-12-30T10:00:00Z 2011-12-30T19:00:00Z"},
	} {
		var got []string
		e, at := entryOf(t, c.entry, c.zone), instant(t, c.after)
		for range strings.Fields(c.want) {
			at = e.Next(at)
			got = append(got, at.String())
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s %q after %s:\n got %s\nwant %s", c.zone, c.entry, c.after, text, c.want)
		}
	}
}

// TestNextAgreesWithLookingAtEveryMinute: random entries around the days on which clocks are set.
func TestNextAgreesWithLookingAtEveryMinute(t *testing.T) {
	around := []struct{ zone, at string }{
		{"Europe/Berlin", "2026-03-29T00:00:00Z"},
		{"Europe/Berlin", "2026-10-25T00:00:00Z"},
		{"America/New_York", "2025-11-02T00:00:00Z"},
		{"America/Sao_Paulo", "2018-11-04T00:00:00Z"},
		{"America/Sao_Paulo", "2018-02-18T00:00:00Z"},
		{"Africa/Cairo", "2024-04-26T00:00:00Z"},
		{"Africa/Cairo", "2024-11-01T00:00:00Z"},
		{"Asia/Beirut", "2025-03-30T00:00:00Z"},
		{"Australia/Lord_Howe", "2025-10-05T00:00:00Z"},
		{"Pacific/Apia", "2011-12-30T00:00:00Z"},
		{"UTC", "2028-02-28T00:00:00Z"},
	}
	field := func(t *rapid.T, name string, low, high int) string {
		n := func(s string) int { return rapid.IntRange(low, high).Draw(t, name+s) }
		switch rapid.IntRange(0, 4).Draw(t, name+" kind") {
		case 0:
			return fmt.Sprint(n(""))
		case 1:
			return fmt.Sprintf("%d,%d", n(" a"), n(" b"))
		case 2:
			return fmt.Sprintf("*/%d", rapid.IntRange(1, high).Draw(t, name+" step"))
		}
		return "*"
	}
	rapid.Check(t, func(t *rapid.T) {
		c := rapid.SampledFrom(around).Draw(t, "around")
		zone, _ := time.LoadLocation(c.zone)
		text := strings.Join([]string{
			field(t, "minute", 0, 59), field(t, "hour", 0, 23), field(t, "day of month", 1, 31), "*", field(t, "day", 0, 6),
		}, " ")
		e, err := Parse(text, zone)
		if err != nil {
			t.Fatal(err)
		}
		middle, _ := rating.ParseInstant([]byte(c.at))
		from, to := middle-2*86400e6, middle+2*86400e6
		var got []rating.Instant
		for at := e.Next(from - 1); at < to; at = e.Next(at) {
			got = append(got, at)
		}
		want := dueByMinute(e, from, to)
		if !slices.Equal(want, got) {
			t.Fatalf("%s %q: %s", c.zone, text, cmp.Diff(want, got))
		}
	})
}

// dueByMinute is what Next is to give, found by reading the clock at each minute of a few days.
func dueByMinute(e Entry, from, to rating.Instant) []rating.Instant {
	const day = rating.Instant(86400e6)
	shown := map[wall][]rating.Instant{}
	for at := from - 2*day; at < to+2*day; at += 60e6 {
		_, _, ahead := stretch(e.zone, at)
		reading := wall(at/1e6) + ahead
		shown[reading] = append(shown[reading], at)
	}
	var due []rating.Instant
	for reading := wall((from - day) / 1e6); reading < wall((to+day)/1e6); reading += 60 {
		of := time.Unix(int64(reading), 0).UTC()
		if e.minute>>of.Minute()&1 == 0 || e.hour>>of.Hour()&1 == 0 || !e.dayMatches(int64(floor(reading, secondsPerDay))) {
			continue
		}
		times := shown[reading]
		for later := reading; len(times) == 0; later += 60 { // skipped
			times = shown[later]
			if len(times) > 1 {
				times = times[:1]
			}
		}
		if !e.everyHour {
			times = times[:1]
		}
		due = append(due, times...)
	}
	slices.Sort(due)
	due = slices.Compact(due)
	return slices.DeleteFunc(due, func(at rating.Instant) bool { return at < from || at >= to })
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "the entry is empty",
		"TZ=UTC":                  `"TZ=UTC" names a zone, and no time`, // on which the parser panics
		"CRON_TZ=Europe/Berlin":   "names a zone, and no time",
		"TZ=UTC\t* * * * *":       "",
		"CRON_TZ=Mars 0 2 * * *":  `"Mars" is no IANA time zone`,
		"TZ= 0 2 * * *":           `"" is no IANA time zone`,
		"TZ=Local 0 2 * * *":      `"Local" is no IANA time zone`,
		"ZONE=UTC 0 2 * * *":      `"ZONE=UTC" is no field`,
		"0 2 31 2 *":              "is never due",
		"0 2 30 2 *":              "is never due",
		"0 2 31 4,6,9,11 *":       "is never due",
		"0 2 31 2 1":              "", // Mondays
		"0 2 29 2 *":              "",
		", * * * *":               "is never due",
		"* * * * ,":               "is never due",
		"* * * *":                 "expected exactly 5 fields, found 4",
		"0 * * * * *":             "expected exactly 5 fields, found 6",
		"61 * * * *":              "above maximum (59)",
		"0 2 * * 7":               "above maximum (6)",
		"0 5-2 * * *":             "beyond end of range",
		"*/0 * * * *":             "step of range should be a positive number",
		"@hourly":                 "",
		"TZ=Asia/Shanghai @daily": "",
		"@reboot":                 "unrecognized descriptor",
		"@every":                  `"@every" is no length of time`,
		"@every -1h":              `"@every -1h" is no length of time`, // which the parser takes for 1s
		"@every 100ms":            "is no length of time",
		"@every 1.5s":             "is no length of time",
		"@every 9000h":            "is no length of time",
		"@every 15m":              "",
		"hourly":                  "expected exactly 5 fields",
	} {
		_, err := Parse(text, time.UTC)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "; write ")) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// FuzzParse: no text makes the parser panic, and what it takes is due some day.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"TZ=UTC", "0 2 31 2 *", "CRON_TZ=Europe/Berlin 30 2 * * *", "@every 15m", ",,,,", "1/2/3 * * * *", "TZ=UTC ", "@"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := Parse(text, time.UTC)
		if err != nil {
			return
		}
		now := instant(t, "2026-10-01T00:00:00Z")
		if next := e.Next(now); next <= now || next == rating.Never {
			t.Fatalf("%q is due at %v", text, next)
		}
	})
}

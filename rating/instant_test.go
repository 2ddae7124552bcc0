package rating

import (
	"regexp"
	"testing"
	"time"
)

func TestParseInstant(t *testing.T) {
	for text, want := range map[string]string{
		"2026-10-01T08:30:00Z":             "2026-10-01T08:30:00Z",
		"2026-10-01t08:30:00z":             "2026-10-01T08:30:00Z",
		"2026-10-01 08:30:00+02:00":        "2026-10-01T06:30:00Z",
		"2026-10-01T08:30:00.1234567Z":     "2026-10-01T08:30:00.123456Z",
		"1969-12-31T23:59:59.9999999Z":     "1969-12-31T23:59:59.999999Z",
		"2024-02-29T00:00:00-23:59":        "2024-02-29T23:59:00Z",
		"2023-02-29T00:00:00Z":             "",
		"2026-10-01T08:30:60Z":             "",
		"2026-10-01T24:00:00Z":             "",
		"2026-10-01T08:30:00":              "",
		"2026-10-01T08:30:00.Z":            "",
		"2026-10-01T08:30:00+0200":         "",
		"2026-10-01":                       "",
		"0000-01-01T00:00:00Z":             "",
		"0001-01-01T00:00:00+00:01":        "",
		"9999-12-31T23:59:59.999999Z":      "9999-12-31T23:59:59.999999Z",
		"9999-12-31T23:59:59.999999-00:01": "",
	} {
		got, err := ParseInstant([]byte(text))
		if err != nil && want != "" || err == nil && got.String() != want {
			t.Errorf("%q: %v, %v; want %q", text, got, err, want)
		}
	}
}

func TestParseInstantInTakesTheEarlierAndMovesOverGaps(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"2026-07-01T12:00:00":       "2026-07-01T10:00:00Z",
		"2026-07-01 12:00:00.5":     "2026-07-01T10:00:00.5Z",
		"2026-07-01T12:00:00+00:00": "2026-07-01T12:00:00Z",
		"2026-03-29T02:30:00":       "2026-03-29T01:30:00Z", // skipped: 03:30 summer time
		"2026-10-25T02:30:00":       "2026-10-25T00:30:00Z", // twice: the earlier
		"2026-10-25T03:00:00":       "2026-10-25T02:00:00Z",
	} {
		got, err := ParseInstantIn([]byte(text), berlin)
		if err != nil || got.String() != want {
			t.Errorf("%q: %v, %v; want %q", text, got, err, want)
		}
	}
	if _, err := ParseInstantIn([]byte("2026-07-01"), berlin); err == nil {
		t.Error("a date was taken as a time")
	}
}

var instantPattern = regexp.MustCompile(`^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[-+]([01]\d|2[0-3]):[0-5]\d)$`)

// FuzzInstant compares with time.Parse.
func FuzzInstant(f *testing.F) {
	for _, s := range []string{"2026-10-01T08:30:00Z", "2026-10-01 08:30:00.123456789+02:00", "2024-02-29T23:59:59.9-23:59", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1900-02-29T00:00:00Z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseInstant([]byte(text))
		if !instantPattern.MatchString(text) {
			if err == nil {
				t.Fatalf("%q was taken as %v", text, got)
			}
			return
		}
		plain := []byte(text)
		plain[10] = 'T'
		if last := len(plain) - 1; plain[last] == 'z' {
			plain[last] = 'Z'
		}
		want, wantErr := time.Parse("2006-01-02T15:04:05Z07:00", string(plain))
		inRange := wantErr == nil && want.UTC().Year() >= 1 && want.UTC().Year() <= 9999
		if inRange != (err == nil) || inRange && got != InstantOf(want) {
			t.Fatalf("%q: %v, %v; time.Parse says %v, %v", text, got, err, want, wantErr)
		}
		if inRange {
			if again, err := ParseInstant([]byte(got.String())); err != nil || again != got {
				t.Fatalf("%v is read back as %v, %v", got, again, err)
			}
		}
	})
}

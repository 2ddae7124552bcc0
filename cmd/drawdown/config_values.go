package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"

	"drawdown/rating"
)

// The values below read themselves. Their errors are "what is wrong; what to write instead".

// span is a length of time: 90s, 15m, 1h, 35d.
type span time.Duration

func (s *span) UnmarshalYAML(node *yaml.Node) error {
	const hint = "; write a number and a unit, such as 90s, 15m, 1h or 35d"
	text := node.Value
	days, isDays := strings.CutSuffix(text, "d")
	if isDays {
		n, err := rating.ParseDecimal([]byte(days), 0, rating.Exact)
		if err != nil || n < 0 || n > 36500 {
			return fmt.Errorf("%q is no length of time"+hint, text)
		}
		*s = span(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d%time.Microsecond != 0 {
		return fmt.Errorf("%q is no length of time"+hint, text)
	}
	*s = span(d)
	return nil
}

// percent is a share of the whole, in units of 10^-9 percent.
type percent int64

const onePercent = 1e9

func (p *percent) UnmarshalYAML(node *yaml.Node) error {
	number, found := strings.CutSuffix(node.Value, "%")
	billionths, err := rating.ParseDecimal([]byte(number), 9, rating.Exact)
	if !found || err != nil || billionths < 0 || billionths > 100*onePercent {
		return fmt.Errorf("%q is no percentage from 0%% to 100%%; write it as 1%% or 0.5%%", node.Value)
	}
	*p = percent(billionths)
	return nil
}

// zone is an IANA time zone.
type zone struct{ *time.Location }

func (z *zone) UnmarshalYAML(node *yaml.Node) error {
	location, err := time.LoadLocation(node.Value)
	if err != nil || node.Value == "Local" || node.Value == "" {
		return fmt.Errorf("%q is no IANA time zone; write a name such as UTC, Europe/Berlin or Asia/Shanghai", node.Value)
	}
	z.Location = location
	return nil
}

// period is settlement.period.
type period rating.PeriodUnit

func (p *period) UnmarshalYAML(node *yaml.Node) error {
	for i, name := range periodNames {
		if node.Value == name {
			*p = period(i)
			return nil
		}
	}
	return fmt.Errorf("%q is no period; write hour, day or month", node.Value)
}

func (p period) String() string { return periodNames[p] }

var periodNames = [...]string{"hour", "day", "month"}

// order is deduction_order: the name of a preset, or a list of keys.
type order struct{ keys []rating.Key }

func (o *order) UnmarshalYAML(node *yaml.Node) error {
	var names []string
	if node.Kind == yaml.ScalarNode {
		names = []string{node.Value}
	} else if err := node.Decode(&names); err != nil || len(names) == 0 {
		return errors.New("it is neither a name nor a list of keys; write default, or a list such as [priority, cycle_end]")
	}
	keys, err := rating.ParseOrder(names)
	if err != nil {
		return fmt.Errorf("%w; write default, or a list such as [priority, cycle_end]", err)
	}
	o.keys = keys
	return nil
}

// parseMoment reads a date, which is its first instant in the zone, a local date and time, or an instant.
func parseMoment(text string, location *time.Location) (at rating.Instant, isDate bool, err error) {
	if len(text) == len("2006-01-02") {
		at, _, err = parseMoment(text+"T00:00:00", location)
		return at, true, err
	}
	if at, err = rating.ParseInstant([]byte(text)); err == nil {
		return at, false, nil
	}
	local, localErr := time.ParseInLocation("2006-01-02T15:04:05", text, location)
	if localErr != nil {
		return 0, false, err
	}
	return rating.InstantOf(local), false, nil
}

// byteSize is an amount of memory in bytes: 512MiB, 1GiB.
type byteSize int64

func (b *byteSize) UnmarshalYAML(node *yaml.Node) error {
	return b.UnmarshalText([]byte(node.Value))
}

// UnmarshalText reads the same from a flag.
func (b *byteSize) UnmarshalText(text []byte) error {
	size, err := parseByteSize(string(text))
	if err == nil {
		*b = size
	}
	return err
}

// memorySize is the size that --memory takes.
type memorySize byteSize

// leastMemory is what a run works in at the least.
const leastMemory = 64 << 20

// Decode reads the flag's value, also one that looks like another flag.
func (m *memorySize) Decode(c *kong.DecodeContext) error {
	const hint = "write a number and a unit, such as 512MiB or 1GiB"
	if c.Scan.Len() == 0 {
		return errors.New("the size is missing; " + hint)
	}
	text := c.Scan.Pop().String()
	size, err := parseByteSize(text)
	if err == nil && size < leastMemory {
		err = fmt.Errorf("%q is too little to work with; write 256MiB or more", text)
	}
	*m = memorySize(size)
	return err
}

func parseByteSize(text string) (byteSize, error) {
	units := []struct {
		name  string
		bytes int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}}
	for _, unit := range units {
		number, found := strings.CutSuffix(text, unit.name)
		if !found {
			continue
		}
		thousandths, err := rating.ParseDecimal([]byte(strings.TrimSpace(number)), 3, rating.Exact)
		if err == nil && thousandths > 0 && thousandths < 1<<62/unit.bytes {
			return byteSize(thousandths * unit.bytes / 1000), nil
		}
	}
	return 0, fmt.Errorf("%q is no amount of memory; write a number and a unit, such as 512MiB or 1GiB", text)
}

func (b byteSize) String() string {
	switch {
	case b >= 1<<30 && b%(1<<30) == 0:
		return fmt.Sprintf("%dGiB", b>>30)
	default:
		return fmt.Sprintf("%dMiB", (b+1<<19)>>20)
	}
}

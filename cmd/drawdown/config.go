package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"drawdown/rating"
	"drawdown/readers/bucket"
	"drawdown/writers/store"
)

// Config is drawdown.yaml. Every key is also a variable, as DRAWDOWN_SETTLEMENT_PERIOD; docs/operations.md lists them.
type Config struct {
	Site           string           `yaml:"site"`
	State          string           `yaml:"state"`
	Usage          usageConfig      `yaml:"usage"`
	Output         outputConfig     `yaml:"output"`
	Catalog        string           `yaml:"catalog"`
	Settlement     settlementConfig `yaml:"settlement"`
	DeductionOrder order            `yaml:"deduction_order"`
	Currency       currencyConfig   `yaml:"currency"`
	ReminderDays   []int            `yaml:"reminder_days"`
	Memory         byteSize         `yaml:"memory"`
	TempDir        string           `yaml:"temp_dir"` // "": the system's
	Notify         notifyConfig     `yaml:"notify"`
	Schedule       scheduleConfig   `yaml:"schedule"`

	Start rating.Instant `yaml:"-"` // settlement.start as an instant: the start of the first period
}

type outputConfig struct {
	URL string `yaml:"url"`
}

type settlementConfig struct {
	Period        period  `yaml:"period"`
	TimeZone      zone    `yaml:"time_zone"`
	Start         string  `yaml:"start"`
	Delay         span    `yaml:"delay"`
	LateHorizon   span    `yaml:"late_horizon"`
	MaxQuarantine percent `yaml:"max_quarantine"`
	Shards        int     `yaml:"shards"`
}

type currencyConfig struct {
	Code   string `yaml:"code"`
	Digits int    `yaml:"digits"`
}

func defaultConfig() *Config {
	c := &Config{Site: "default", State: "drawdown.db", ReminderDays: []int{7}, Memory: 1 << 30}
	c.Usage.URL, c.Usage.OnBadObject = "./usage", "fail"
	c.Output.URL = "./settlements"
	c.Settlement = settlementConfig{
		Period: period(rating.Daily), TimeZone: zone{time.UTC},
		Delay: span(time.Hour), LateHorizon: span(35 * 24 * time.Hour), MaxQuarantine: onePercent, Shards: 16,
	}
	c.DeductionOrder.keys, _ = rating.ParseOrder(nil)
	c.Currency = currencyConfig{"USD", 2}
	c.Notify = defaultNotify()
	c.Schedule = scheduleConfig{TimeZone: zone{time.UTC}, Grace: span(5 * time.Minute)}
	return c
}

// loadConfig reads drawdown.yaml and the environment.
func loadConfig(file string, env []string) (*Config, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &failure{
			op: "read config " + file, err: fs.ErrNotExist, code: exitUsage,
			hint: "`drawdown init DIR` writes one to begin with; --config FILE names another place",
		}
	}
	if err != nil {
		return nil, &failure{op: "read config", err: err, code: exitUsage}
	}
	return parseConfig(data, file, env)
}

// parseConfig reads the bytes of drawdown.yaml. Relative paths are relative to the folder that file stands in. Every fault
// is reported at once.
func parseConfig(data []byte, file string, env []string) (*Config, error) {
	c := defaultConfig()
	d := &decoder{where: map[string]string{}}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return nil, &failure{
			op: "read config " + file, err: err, code: exitUsage,
			hint: "the file is no YAML; look at the line named, and at the one above it; what begins with * or @ needs quotes",
		}
	}
	into := reflect.ValueOf(c).Elem()
	if len(document.Content) > 0 && document.Content[0].Tag != "!!null" {
		d.fill(into, document.Content[0], "")
	}
	d.overlay(into, env)
	c.check(d, filepath.Dir(file))
	if len(d.faults) > 0 {
		slices.SortStableFunc(d.faults, func(x, y configFault) int { return cmp.Compare(x.line(), y.line()) })
		return nil, &configError{file: file, faults: d.faults}
	}
	c.resolvePaths(filepath.Dir(file))
	c.Notify.resolve(filepath.Dir(file))
	return c, nil
}

// check finds what is wrong with values that fit their fields; dir is what relative paths are relative to.
func (c *Config) check(d *decoder, dir string) {
	c.checkState(d)
	for _, place := range []struct{ key, value string }{
		{"usage.url", c.Usage.URL}, {"output.url", c.Output.URL}, {"catalog", c.Catalog}, {"temp_dir", c.TempDir},
	} {
		scheme, _, remote := strings.Cut(place.value, "://")
		switch {
		case isRemote(place.value) && (place.key == "usage.url" || place.key == "output.url"):
			c.checkBucket(d, place.key, place.value)
		case remote:
			d.faultAt(place.key, "write the path of a "+placeNoun[place.key], "%s:// is not supported", scheme)
		case place.value == "" && place.key != "catalog" && place.key != "temp_dir":
			d.faultAt(place.key, "write the path of a "+placeNoun[place.key], "the value is empty")
		}
	}
	if c.Output.URL != "" && c.Usage.URL != "" && within(realPath(dir, c.Output.URL), realPath(dir, c.Usage.URL)) {
		d.faultAt("output.url", "write a folder beside usage.url", "%q is in the usage folder, where the settlement would be read as usage", c.Output.URL)
	}
	if c.Usage.OnBadObject != "fail" && c.Usage.OnBadObject != "quarantine" {
		d.faultAt("usage.on_bad_object", "write fail or quarantine", "%q is unknown", c.Usage.OnBadObject)
	}
	if strings.TrimSpace(c.Site) != c.Site || c.Site == "" || strings.ContainsAny(c.Site, "/\\\n\t") {
		d.faultAt("site", "write a short name, such as demo", "%q is no name", c.Site)
	}
	if c.Settlement.Shards < 1 || c.Settlement.Shards > 4096 {
		d.faultAt("settlement.shards", "write 16, or 64 from 100,000 accounts on", "%d is not in 1..4096", c.Settlement.Shards)
	}
	if code := c.Currency.Code; len(code) != 3 || strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		d.faultAt("currency.code", "write three capital letters, such as USD", "%q is no currency code", code)
	}
	if c.Currency.Digits < 0 || c.Currency.Digits > 9 {
		d.faultAt("currency.digits", "write 2 for cents, 0 for yen", "%d is not in 0..9", c.Currency.Digits)
	}
	for _, days := range c.ReminderDays {
		if days < 1 || days > 3650 {
			d.faultAt("reminder_days", "write days before the end, such as [7, 1]", "%d is not in 1..3650", days)
		}
	}
	c.ReminderDays = slices.Compact(slices.Sorted(slices.Values(c.ReminderDays)))
	if c.Memory < leastMemory {
		d.faultAt("memory", "write 256MiB or more", "%s is too little to work with", c.Memory)
	}
	c.checkUsage(d)
	c.checkNotify(d)
	c.checkStart(d)
	c.checkSchedule(d)
}

// isRemote tells the address of a bucket from a path.
func isRemote(place string) bool { return strings.HasPrefix(place, bucket.Scheme) }

// checkBucket finds faults of an address. They do not repeat it: somebody may have written credentials there.
func (c *Config) checkBucket(d *decoder, key, place string) {
	if _, err := bucket.Parse(place); err != nil {
		message, hint, _ := strings.Cut(err.Error(), "; ")
		d.faultAt(key, hint, "%s", message)
	}
}

// checkState looks at the URL of a database, of which no part may be shown: it may hold a password.
func (c *Config) checkState(d *decoder) {
	switch {
	case c.State == "":
		d.faultAt("state", "write the path of an SQLite file, such as drawdown.db, or the URL of a PostgreSQL database", "the value is empty")
	case store.IsURL(c.State):
		if err := store.CheckURL(c.State); err != nil {
			message, hint, _ := strings.Cut(err.Error(), "; ")
			d.faultAt("state", hint, "%s", message)
		}
	case strings.Contains(c.State, "host=") || strings.Contains(c.State, "dbname=") || strings.Contains(c.State, "password="):
		d.faultAt("state", "write the database as a URL, postgres://user@host/database; the password is PGPASSWORD, or stands in ~/.pgpass",
			"it is no file, but what names a database by keys")
	}
}

var placeNoun = map[string]string{
	"usage.url":  "folder, such as ./usage, or of a bucket, s3://BUCKET/PREFIX",
	"output.url": "folder, such as ./settlements, or of a bucket, s3://BUCKET/PREFIX", "catalog": "file or folder, such as ./catalog.yaml",
	"temp_dir": "folder, such as /var/tmp",
}

// checkStart finds the first period. A date must be its first day in the billing zone; an instant is within it.
func (c *Config) checkStart(d *decoder) {
	const key = "settlement.start"
	text := c.Settlement.Start
	if text == "" {
		d.faultAt(key, "write the first day to settle, such as start: 2026-10-01", "the key is missing")
		return
	}
	location := c.Settlement.TimeZone.Location
	start, isDate, err := parseMoment(text, location)
	if err != nil {
		d.faultAt(key, "write a date such as 2026-10-01", "%q is no date", c.Settlement.Start)
		return
	}
	first := rating.PeriodAt(rating.PeriodUnit(c.Settlement.Period), location, start)
	if isDate && first.Start != start {
		d.faultAt(key, "write "+moment(first.Start, location)+" or "+moment(first.End, location),
			"%s is in the midst of a period (settlement.period is %s)", c.Settlement.Start, c.Settlement.Period)
	}
	c.Start = first.Start
}

// within says whether a path is a folder or something below it; a bucket's prefix likewise. A folder that exists is known by
// any name.
func within(path, folder string) bool {
	if isRemote(path) || isRemote(folder) {
		inner, innerErr := bucket.Parse(path)
		outer, outerErr := bucket.Parse(folder)
		return innerErr == nil && outerErr == nil && inner.Within(outer)
	}
	below, err := filepath.Rel(filepath.Clean(folder), filepath.Clean(path))
	if err == nil && filepath.IsLocal(below) {
		return true
	}
	info, err := os.Stat(folder)
	if err != nil {
		return false
	}
	for {
		if above, err := os.Stat(path); err == nil && os.SameFile(above, info) {
			return true
		}
		parent := filepath.Dir(path)
		if parent == path {
			return false
		}
		path = parent
	}
}

// realPath makes a path absolute and follows links, as far as there is something. A bucket has neither.
func realPath(dir, path string) string {
	if isRemote(path) {
		return path
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	for there, rest := path, ""; ; {
		if real, err := filepath.EvalSymlinks(there); err == nil {
			return filepath.Join(real, rest)
		}
		parent := filepath.Dir(there)
		if parent == there {
			return path
		}
		there, rest = parent, filepath.Join(filepath.Base(there), rest)
	}
}

func (c *Config) resolvePaths(dir string) {
	for _, path := range []*string{&c.State, &c.Usage.URL, &c.Output.URL, &c.Catalog, &c.TempDir} {
		if *path != "" && !filepath.IsAbs(*path) && !strings.Contains(*path, "://") {
			*path = filepath.Join(dir, *path)
		}
	}
}

func (c *Config) delay() time.Duration { return time.Duration(c.Settlement.Delay) }

// rating gives the part that decides about settling.
func (c *Config) rating() rating.Config {
	return rating.Config{
		Zone: c.Settlement.TimeZone.Location, Currency: c.Currency.Code,
		Order: c.DeductionOrder.keys, ReminderDays: c.ReminderDays, LateHorizon: time.Duration(c.Settlement.LateHorizon),
	}
}

// hash is the SHA-256 of everything here that can change a result, as canonical JSON. Places, memory and what only decides
// when or whether to settle (delay, max_quarantine) are left out.
func (c *Config) hash() [sha256.Size]byte {
	keys := make([]string, len(c.DeductionOrder.keys))
	for i, key := range c.DeductionOrder.keys {
		keys[i] = key.String()
	}
	text, err := json.Marshal(struct {
		Period      string         `json:"period"`
		TimeZone    string         `json:"time_zone"`
		Start       rating.Instant `json:"start"`
		LateHorizon time.Duration  `json:"late_horizon_ns"`
		Shards      int            `json:"shards"`
		Order       []string       `json:"deduction_order"`
		Currency    string         `json:"currency"`
		Digits      int            `json:"digits"`
		Reminders   []int          `json:"reminder_days"`
		OnBadObject string         `json:"on_bad_object"`
		Usage       any            `json:"usage"`
	}{
		c.Settlement.Period.String(), c.Settlement.TimeZone.String(), c.Start, time.Duration(c.Settlement.LateHorizon),
		c.Settlement.Shards, keys, c.Currency.Code, c.Currency.Digits, c.ReminderDays, c.Usage.OnBadObject, c.Usage.Config,
	})
	if err != nil {
		panic(err) // cannot be: checkUsage has refused what is no JSON
	}
	return sha256.Sum256(text)
}

// configError is everything wrong with a configuration.
type configError struct {
	file   string
	faults []configFault
}

func (e *configError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "read config %s: %s", e.file, counted(int64(len(e.faults)), "fault", "faults"))
	for _, f := range e.faults {
		b.WriteString("\n  ")
		if f.Where != "" {
			b.WriteString(f.Where + ": ")
		}
		if f.Key != f.Where {
			b.WriteString(f.Key + ": ")
		}
		b.WriteString(f.Message)
		if f.Hint != "" {
			b.WriteString("; " + f.Hint)
		}
	}
	return b.String()
}

func (e *configError) ExitCode() int { return exitUsage }

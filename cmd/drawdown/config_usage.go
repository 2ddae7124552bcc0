package main

import (
	"encoding/json"
	"errors"
	"strings"

	"drawdown/readers/usage"
)

// usageConfig is the section `usage`: where the usage lies, and how to read a row of it (R4.2).
type usageConfig struct {
	URL         string `yaml:"url"`
	OnBadObject string `yaml:"on_bad_object"`
	usage.Config
}

func (c *Config) checkUsage(d *decoder) {
	if _, err := json.Marshal(c.Usage.Config); err != nil {
		d.faultAt("usage.fields", "write its keys as texts", "%v", err)
		return
	}
	for _, err := range separate(c.Usage.Validate()) {
		key, message, found := strings.Cut(err.Error(), ": ")
		if !found {
			key, message = "usage", err.Error()
		}
		message, hint, _ := strings.Cut(message, "; ")
		where := ""
		for _, section := range []string{"usage.fields", "usage.emit"} {
			if strings.HasPrefix(key, section) {
				where = d.where[section]
			}
		}
		d.fault(where, key, hint, "%s", message)
	}
}

// separate takes joined errors apart.
func separate(err error) []error {
	if err == nil {
		return nil
	}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{err}
}

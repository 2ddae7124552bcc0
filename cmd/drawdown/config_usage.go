package main

import (
	"encoding/json"
)

// usageConfig is the section `usage`: where the usage lies, and how to read a row of it.
type usageConfig struct {
	URL         string `yaml:"url"`
	OnBadObject string `yaml:"on_bad_object"`

	// How to read a row (R4.2).
	Fields        map[string]any `yaml:"fields"`
	Emit          []emitConfig   `yaml:"emit"`
	MaxExpansion  int64          `yaml:"max_expansion"`
	MaxObjectSize int64          `yaml:"max_object_size"`
	MaxLine       int64          `yaml:"max_line"`
}

type emitConfig struct {
	Meter    string `yaml:"meter"`
	Quantity any    `yaml:"quantity"`
}

// mapping is what can change how a row is read.
func (u *usageConfig) mapping() any {
	mapping := *u
	mapping.URL, mapping.OnBadObject = "", ""
	return mapping
}

func (c *Config) checkUsage(d *decoder) {
	if _, err := json.Marshal(c.Usage.mapping()); err != nil {
		d.faultAt("usage.fields", "write keys as texts", "%v", err)
	}
}

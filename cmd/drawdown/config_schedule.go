package main

import (
	"strings"

	"drawdown/jobs/schedule"
)

// scheduleConfig is the section `schedule`: when the daemon runs what.
type scheduleConfig struct {
	TimeZone zone   `yaml:"time_zone"`
	Grace    span   `yaml:"grace"`
	Settle   string `yaml:"settle"`
	Remind   string `yaml:"remind"`
	Notify   string `yaml:"notify"`
	GC       string `yaml:"gc"`

	entries []scheduledEntry // of the jobs that are to run, in the order of scheduledJobs
}

// scheduledEntry is a job, and when it is due.
type scheduledEntry struct {
	scheduledJob
	text  string
	entry schedule.Entry
}

// checkSchedule reads the entries.
func (c *Config) checkSchedule(d *decoder) {
	s := &c.Schedule
	texts := map[string]string{"settle": s.Settle, "remind": s.Remind, "notify": s.Notify, "gc": s.GC}
	for _, job := range scheduledJobs() {
		key, text := "schedule."+job.name, texts[job.name]
		if d.where[key] == "" {
			continue
		}
		entry, err := schedule.Parse(text, s.TimeZone.Location)
		if err != nil {
			message, hint, _ := strings.Cut(err.Error(), "; ")
			d.faultAt(key, hint, "%s", message)
			continue
		}
		s.entries = append(s.entries, scheduledEntry{job, text, entry})
	}
}

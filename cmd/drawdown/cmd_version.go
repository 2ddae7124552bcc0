package main

import (
	"fmt"
	"runtime/debug"
)

// versionCmd shows the version.
type versionCmd struct{}

// buildInfo is what the binary knows of its making.
type buildInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Changed  bool   `json:"changed"` // built from files that are not committed
	Go       string `json:"go"`
}

func buildVersion() buildInfo {
	v := buildInfo{Version: "development"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Go = info.GoVersion
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		v.Version = info.Main.Version
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			v.Revision = setting.Value
		case "vcs.modified":
			v.Changed = setting.Value == "true"
		}
	}
	return v
}

func (versionCmd) Run(a *app) error {
	v := buildVersion()
	if a.flags.JSON {
		return printJSON(a.stdout, v)
	}
	_, err := fmt.Fprintf(a.stdout, "drawdown %s (%s)\n", v.Version, v.Go)
	return err
}

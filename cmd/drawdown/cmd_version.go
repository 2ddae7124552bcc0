package main

import (
	"fmt"
	"runtime/debug"
)

// versionCmd shows the version.
type versionCmd struct{}

func (versionCmd) Run(a *app) error {
	v := struct {
		Version  string `json:"version"`
		Revision string `json:"revision"`
		Changed  bool   `json:"changed"` // built from files that are not committed
		Go       string `json:"go"`
	}{Version: "development"}
	if info, ok := debug.ReadBuildInfo(); ok {
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
	}
	if a.flags.JSON {
		return printJSON(a.stdout, v)
	}
	_, err := fmt.Fprintf(a.stdout, "drawdown %s (%s)\n", v.Version, v.Go)
	return err
}

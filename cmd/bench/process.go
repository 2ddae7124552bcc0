package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// measure is what one child process took.
type measure struct {
	wall, cpu time.Duration
	peakRSS   int64 // bytes
	stdout    []byte
}

// child runs a program on so many cores, 0 for all, and measures it. What it printed is in the error if it fails.
func child(cores int64, program string, args ...string) (measure, error) {
	var m measure
	env := os.Environ()
	if cores > 0 {
		env = append(env, "GOMAXPROCS="+strconv.FormatInt(cores, 10))
		if taskset, err := exec.LookPath("taskset"); err == nil {
			args = append([]string{"-c", "0-" + strconv.FormatInt(cores-1, 10), program}, args...)
			program = taskset
		}
	}
	syscall.Sync() // what earlier runs wrote is not this run's business
	command := exec.Command(program, args...)
	command.Env = env
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	start := time.Now()
	err := command.Run()
	m.wall = time.Since(start)
	m.stdout = stdout.Bytes()
	if err != nil {
		text := strings.TrimSpace(stderr.String() + stdout.String())
		return m, fmt.Errorf("%s: %w: %s", command, err, text[max(0, len(text)-2000):])
	}
	m.cpu = command.ProcessState.UserTime() + command.ProcessState.SystemTime()
	if usage, ok := command.ProcessState.SysUsage().(*syscall.Rusage); ok {
		m.peakRSS = int64(usage.Maxrss) << 10 // Linux counts kibibytes
	}
	return m, nil
}

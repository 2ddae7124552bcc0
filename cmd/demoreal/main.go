// Command demoreal runs the demo on the stores that drawdown is meant for: it starts a PostgreSQL and an S3 server on
// loopback, puts the demo's usage into a bucket, lets the drawdown program that it is given settle it there, and ends both.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"

	"drawdown/readers/bucket"
	"drawdown/readers/bucket/buckettest"
	"drawdown/writers/store/storetest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: demoreal DRAWDOWN FOLDER")
		os.Exit(2)
	}
	if err := run(ctx, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "demoreal:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, drawdown, folder string) (err error) {
	database, err := storetest.Start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.Close()) }()
	server, err := buckettest.Serve()
	if err != nil {
		return fmt.Errorf("start an S3 server: %w", err)
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": buckettest.AccessKey, "AWS_SECRET_ACCESS_KEY": buckettest.Secret, "AWS_EC2_METADATA_DISABLED": "true",
		"DRAWDOWN_STATE":     database.URL("postgres", "postgres"),
		"DRAWDOWN_USAGE_URL": buckettest.URL(server.Endpoint, "usage"), "DRAWDOWN_OUTPUT_URL": buckettest.URL(server.Endpoint, "settlements"),
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
		if name[:3] != "AWS" {
			fmt.Printf("%s=%s\n", name, value)
		}
	}
	if err := upload(ctx, buckettest.URL(server.Endpoint, "usage"), filepath.Join("testdata", "azure-llm-trace")); err != nil {
		return fmt.Errorf("upload the demo's usage: %w", err)
	}
	for _, args := range [][]string{{"demo", folder}, {"--config", filepath.Join(folder, "drawdown.yaml"), "verify"}} {
		fmt.Println()
		cmd := exec.CommandContext(ctx, drawdown, args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s %v: %w", drawdown, args, err)
		}
	}
	fmt.Printf("\nBoth servers end now, and what they held goes with them. To try things out, run `make demo`: it settles the same on this\n" +
		"machine alone, to the same bytes.\n")
	return nil
}

// upload puts the usage of a folder into a bucket.
func upload(ctx context.Context, place, folder string) error {
	address, err := bucket.Parse(place)
	if err != nil {
		return err
	}
	b, err := bucket.Open(ctx, address, bucket.Settings{})
	if err != nil {
		return err
	}
	defer b.Close()
	files, err := filepath.Glob(filepath.Join(folder, "*.csv"))
	if err != nil {
		return err
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err == nil {
			err = b.Put(ctx, filepath.Base(file), bytes.NewReader(content), int64(len(content)), sha256.Sum256(content))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

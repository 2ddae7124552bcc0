// Command embedded fetches a PostgreSQL for tests where none is installed, and prints the folder of its programs, for
// TEST_POSTGRES_BIN. It is a module of its own, so that drawdown does not depend on what it needs.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "embedded:", err)
		os.Exit(1)
	}
}

func run() error {
	cache, err := os.UserCacheDir()
	if os.Geteuid() == 0 { // the server runs as another user, who cannot look into root's home
		cache, err = "/var/cache", nil
	}
	if err != nil {
		return err
	}
	dir := filepath.Join(cache, "drawdown-test-postgres")
	bin := filepath.Join(dir, "bin")
	if _, err := os.Stat(filepath.Join(bin, "postgres")); err == nil {
		fmt.Println(bin)
		return nil
	}
	config := embeddedpostgres.DefaultConfig().Version(embeddedpostgres.V16).BinariesPath(dir).CachePath(dir).
		RuntimePath(filepath.Join(os.TempDir(), "drawdown-test-postgres")).Port(54329).Logger(os.Stderr)
	server := embeddedpostgres.NewDatabase(config)
	started := server.Start() // as root it cannot be started, but is unpacked by then
	if started == nil {
		started = server.Stop()
	}
	if _, err := os.Stat(filepath.Join(bin, "postgres")); err != nil {
		return fmt.Errorf("fetch PostgreSQL: %w", started)
	}
	fmt.Println(bin)
	return nil
}

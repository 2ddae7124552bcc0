// Command usagegen makes worlds of usage to settle: a config, a catalog and usage objects, any number of records in
// bounded memory, and the same bytes for the same flags whatever the number of cores.
//
//	usagegen --records 10000000 --accounts 100000 --format parquet --seed 1 --out /tmp/world
//
// A world is a month (or its first days) of usage: accounts by Zipf's law, five meters, random UUIDs, quantities with six
// decimals; some records late, some sent twice; packages that overlap, start and end inside the month. Besides what
// drawdown reads it holds the same packages and prices as an SQL engine reads them, so that another program may settle
// the same files. Prices are quarters of a currency unit and quantities multiples of 0.000004, so that every amount is
// exact in six decimals and no engine has anything to round.
//
// What lives here: making worlds. Running and comparing programs on them is cmd/bench.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "usagegen:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	var o options
	flags := flag.NewFlagSet("usagegen", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Int64Var(&o.Records, "records", 1_000_000, "usage records, duplicates included")
	flags.IntVar(&o.Accounts, "accounts", 100_000, "accounts; their usage follows Zipf's law")
	flags.StringVar(&o.Format, "format", "parquet", "parquet, ndjson or csv; the text formats also with .gz or .zst")
	flags.Uint64Var(&o.Seed, "seed", 1, "another seed, another world")
	flags.StringVar(&o.Out, "out", "", "folder to write the world to; must not hold one already")
	flags.IntVar(&o.PackagesPerPair, "packages-per-pair", 2, "mean of packages per account and meter that has any")
	flags.IntVar(&o.PackagedPercent, "packaged-percent", 16, "share of the accounts' meters with packages; 16 makes two packages an account, 58 six")
	flags.IntVar(&o.OnePair, "one-pair", 0, "one account, one meter and this many packages instead")
	flags.IntVar(&o.Days, "days", 31, "days of usage from the first of the month on")
	flags.IntVar(&o.Objects, "objects", 0, "usage objects; one a day when 0")
	flags.BoolVar(&o.Notices, "notices", true, "leave alerts, reminders and the life cycle at their defaults; otherwise a notice is due only where a package is released")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := o.check(flags.Args()); err != nil {
		return err
	}
	summary, err := generate(&o)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s: %d records (%d sent twice, %d late) in %d objects, %d packages on %d of %d pairs\n",
		o.Out, summary.Records, summary.Duplicates, summary.Late, o.Objects, summary.Packages, summary.PackagedPairs, summary.Pairs)
	return err
}

// Package shuffle stands between the readers and the rating: it takes usage records object by object, as they are read,
// and gives them back payer by payer, deduplicated (R4.3) and in canonical order (R1.8), within a fixed memory budget.
//
// What lives here: partitioning, spilling to a local temp file, sorting, deduplication, and the row counts and sums that
// the control totals (R4.6) need. What does not: any rule about money, any reading of usage objects, any output file.
//
//	s, err := shuffle.New(ctx, config)
//	w := s.Writer(object)           // one for each object; each used by one goroutine, many at a time
//	w.Records(batch)                // any number of times, rows ascending
//	w.Close()
//	s.Seal()                        // all is written
//	c, err := s.Shard(shard, nil)   // different shards may be read side by side
//	for c.NextPayer() {             // ascending
//		for c.NextPeriod() {        // ascending
//			for c.NextBatch() {     // canonical order
//				use(c.Payer(), c.Period(), c.Batch())
//			}
//		}
//	}
//	err = c.Close()
//	s.Tallies(); s.Conflicts(); s.OutOfPeriod()
//	s.Close()
//
// # Result
//
// What comes out depends on the records and the bounds alone: not on goroutines, the order in which objects were read,
// the number of partitions, the budget, or whether anything was spilled. Hashes with a random seed are used inside, so
// that nobody can choose ids that collide, but only to find candidates, which are then compared.
//
// # Shards
//
// The shard of a payer is [ShardOf] its id: 64-bit FNV-1a, mixed by the finalizer of MurmurHash3, modulo the number of
// shards. Outputs are cut by it, so it is part of the file format and never changes.
//
// # How it works
//
// The payers of a shard, in index order, are cut into ranges: the partitions. A record is a row of 56 bytes without
// pointers; a UUID in canonical lowercase, the usual record id, is 16 of them (its order as two numbers is that of its
// text), any other id stands in an arena beside. Each reading goroutine appends rows to an open chunk for each partition.
// A full chunk stays in memory while the budget lasts; after that it goes to the temp file, with its CRC32C kept in the
// index. Small runs never touch the disk.
//
// To read a partition, what was spilled of it is loaded, and a 16-byte key (time, position, hash of account and id) for
// each row is counted into its payer's segment. Chunks are taken in the order of time, so a segment is nearly sorted:
// the few late rows are taken out, sorted and merged back. Ids are looked up in a small hash table for each payer and
// period; rows are touched again only for ties, for equal hashes, and to copy them out.
//
// A partition that is too large for the budget (one giant payer is enough) is spread once more, by a hash of account,
// id and period, into buckets that fit; each bucket is deduplicated and written as a sorted run, and the runs are merged
// as they are read.
//
// # Memory
//
// Of Config.MemoryBytes, 5/8 may be held by chunks (open ones at most 1/8, which sets their size), 1/4 is split among the
// Workers cursors (loaded rows, keys, sort space and hash table: the partitions are sized for it), and 1/8 is left for
// the index of the temp file (48 bytes for each spilled chunk), batches and tallies. Where more is expected than the chunks
// may hold, sealing spills them all, and the cursors get their 5/8: then open chunks may have 1/4, and fewer, larger
// partitions do. On top of it come 6 bytes for each account of the catalog and the results: about 90 bytes for each tally
// and conflict. Three things can
// exceed a cursor's share, and are not bounded by it: a bucket in which millions of rows have one and the same account,
// id and period (it cannot be cut), the different quantities of one account, meter and instant (about 40 bytes each),
// and a single huge id.
package shuffle

package shuffle

import (
	"fmt"
	"slices"
	"testing"

	"drawdown/rating"
)

// bookedRow is a row of one account and id; of object 0 it is late, of others it is booked: 1 has lines, 2 was read.
type bookedRow struct {
	object            int32
	version, quantity int64
	time              rating.Instant
	spoilt            bool
}

// TestLateRecordsBesideWhatIsBooked (R5.5, R4.3): what becomes of a late record, by what is booked of its id.
func TestLateRecordsBesideWhatIsBooked(t *testing.T) {
	t.Parallel()
	line := func(quantity int64) bookedRow { return bookedRow{object: 1, quantity: quantity} }
	read := func(version, quantity int64) bookedRow {
		return bookedRow{object: 2, version: version, quantity: quantity}
	}
	late := func(version, quantity int64) bookedRow { return bookedRow{version: version, quantity: quantity} }
	for name, test := range map[string]struct {
		rows []bookedRow
		want string // settled duplicate superseded conflict too late
	}{
		"nothing is booked":                           {[]bookedRow{late(0, 5)}, "1 0 0 0 0"},
		"the same":                                    {[]bookedRow{line(5), read(0, 5), late(0, 5)}, "0 1 0 0 0"},
		"the same, and its object is gone":            {[]bookedRow{line(5), late(0, 5)}, "0 1 0 0 0"},
		"the same again under a higher version":       {[]bookedRow{line(5), read(0, 5), late(3, 5)}, "0 1 0 0 0"},
		"an older version":                            {[]bookedRow{line(5), read(2, 5), read(1, 4), late(1, 4)}, "0 0 1 0 0"},
		"other content":                               {[]bookedRow{line(5), read(0, 5), late(0, 6)}, "0 0 0 1 0"},
		"another time":                                {[]bookedRow{line(5), read(0, 5), {quantity: 5, time: 1}}, "0 0 0 1 0"},
		"a higher version":                            {[]bookedRow{line(5), read(0, 5), late(1, 6)}, "0 0 0 0 1"},
		"a void":                                      {[]bookedRow{line(5), read(0, 5), late(1, 0)}, "0 0 0 0 1"},
		"something else, and the object is gone":      {[]bookedRow{line(5), late(0, 6)}, "0 0 0 0 1"},
		"the original of a void":                      {[]bookedRow{read(0, 5), read(1, 0), late(0, 5)}, "0 0 1 0 0"},
		"the void again":                              {[]bookedRow{read(0, 5), read(1, 0), late(1, 0)}, "0 1 0 0 0"},
		"more after a void":                           {[]bookedRow{read(0, 5), read(1, 0), late(2, 3)}, "1 0 0 0 0"},
		"what was put aside, sent anew":               {[]bookedRow{read(0, 5), late(0, 5)}, "1 0 0 0 0"},
		"what was put aside, otherwise":               {[]bookedRow{read(0, 5), late(0, 6)}, "0 0 0 1 0"},
		"one of two that contradict each other, anew": {[]bookedRow{read(0, 5), read(0, 6), late(0, 5)}, "0 0 0 1 0"},
		"what could not be read, mended":              {[]bookedRow{{object: 2, spoilt: true}, late(0, 5)}, "1 0 0 0 0"},
		"what could not be read beside what could":    {[]bookedRow{{object: 2, spoilt: true}, read(0, 6), late(0, 5)}, "0 0 0 1 0"},
		"below one that could not be read":            {[]bookedRow{{object: 2, version: 9, spoilt: true}, late(0, 5)}, "0 0 1 0 0"},
		"two late ones, the second one settles":       {[]bookedRow{late(0, 5), late(1, 6)}, "1 0 1 0 0"},
		"two late ones, of which one is booked":       {[]bookedRow{line(5), read(0, 5), late(0, 5), late(0, 5)}, "0 2 0 0 0"},
		"two late ones that contradict each other":    {[]bookedRow{line(5), read(0, 5), late(0, 5), late(0, 6)}, "0 0 0 2 0"},
		"only what is booked":                         {[]bookedRow{line(5), read(0, 5)}, "0 0 0 0 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 3 {
				if got := judged(t, test.rows); got != test.want {
					t.Fatalf("settled, duplicate, superseded, conflict, too late: %s, not %s", got, test.want)
				}
				slices.Reverse(test.rows)
			}
		})
	}
}

func judged(t *testing.T, rows []bookedRow) string {
	t.Helper()
	c := &rating.Catalog{Accounts: []rating.Account{{ID: "a"}}, Meters: []rating.Meter{{ID: "m"}}}
	s, err := New(t.Context(), Config{Catalog: c, Bounds: []rating.Instant{0, 10, 20}, Shards: 1, Readers: 1, Booked: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for n, row := range rows {
		r := &rating.Records{
			Time: []rating.Instant{row.time}, Account: []int32{0}, Meter: []int32{0}, Quantity: []int64{row.quantity}, Row: []int64{int64(n + 1)},
			IDs: []byte("id"), IDEnd: []uint32{2}, Version: []int64{row.version},
		}
		if row.spoilt {
			r.Spoilt = []bool{true}
		}
		if row.object > 0 {
			Book(r)
		}
		w := s.Writer(row.object)
		if err := w.Records(r); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Seal(); err != nil {
		t.Fatal(err)
	}
	cursor, err := s.Shard(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	for cursor.NextPayer() {
		for cursor.NextPeriod() {
			for cursor.NextBatch() {
				continue
			}
		}
	}
	if err := cursor.Close(); err != nil {
		t.Fatal(err)
	}
	var sum Tally
	for _, tally := range s.Tallies() {
		if tally.Object != 0 {
			t.Errorf("booked rows are counted: %+v", tally)
		}
		sum.add(tally)
	}
	if late := slices.DeleteFunc(s.Conflicts(), func(c Conflict) bool { return !c.TooLate }); int64(len(late)) != sum.TooLate {
		t.Errorf("%d of %d rows that are too late stand among the conflicts", len(late), sum.TooLate)
	}
	return fmt.Sprint(sum.Settled, sum.Duplicate, sum.Superseded, sum.Conflict, sum.TooLate)
}

package rating

import (
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// alert fires the thresholds that a draw reached (R6.1), high to low, and finds the next one below.
func (s *Settler) alert(r *packageRun, d *draw, at Instant, id []byte) {
	r.alertFloor = -1
	rule := r.pkg.rule
	for _, threshold := range rule.Thresholds {
		level := rule.level(threshold, r.Grant, r.pkg.Scale)
		switch {
		case d.before > level && d.after <= level:
			n := Notice{
				At: at, Kind: NoticeUsageAlert, Account: r.pkg.Account, Package: r.Package, Meter: None,
				CycleStart: r.CycleStart, Type: rule.Type, Threshold: threshold, Remaining: d.after, RecordID: string(id),
			}
			n.DedupKey = dedupKey(n.Kind.String(), r.pkg.ID, r.CycleStart.String(), thresholdTypeNames[rule.Type],
				FormatQuantity(threshold, maxScale), strconv.Itoa(int(r.Arms)))
			s.Result.Notices = append(s.Result.Notices, n)
		case d.after > level:
			r.alertFloor = max(r.alertFloor, level)
		}
	}
}

var thresholdTypeNames = [...]string{"percentage", "absolute"}

func (t ThresholdType) String() string { return thresholdTypeNames[t] }

// level gives a threshold in the package's smallest units, rounded down: a remainder, which is whole, reaches the
// threshold just when it reaches that.
func (a *AlertRule) level(threshold, grant int64, scale int) int64 {
	if a.Type == Absolute {
		return threshold / pow10[maxScale-scale]
	}
	hi, lo := bits.Mul64(uint64(threshold), uint64(grant))
	level, _ := bits.Div64(hi, lo, 100*1e9) // at most 100 percent, so the quotient fits
	return int64(level)
}

// dedupKey joins what makes a notice the same whenever it is found again; a backslash escapes the separator.
func dedupKey(parts ...string) string {
	for i, part := range parts {
		if strings.ContainsAny(part, `\/`) {
			parts[i] = strings.ReplaceAll(strings.ReplaceAll(part, `\`, `\\`), `/`, `\/`)
		}
	}
	return strings.Join(parts, "/")
}

// noticeStop tells of a service stop, once per account, meter and cycle of the stopping package (R3.6).
func (s *Settler) noticeStop(b *Batch, i int, l *lane, r *packageRun) {
	stop := Stop{Account: l.account, Meter: l.meter, Package: r.Package, CycleStart: r.CycleStart}
	if l.told == stop {
		return
	}
	l.told = stop
	s.tellStop(stop, b.Time[i], b.ID(i))
}

// tellStop tells of a service stop that was not told before.
func (s *Settler) tellStop(stop Stop, at Instant, id []byte) {
	for j := range s.stops {
		if s.stops[j] == stop {
			return
		}
	}
	s.stops = append(s.stops, stop)
	account, meter, pkg := s.catalog.Accounts[stop.Account].ID, s.catalog.Meters[stop.Meter].ID, s.catalog.Packages[stop.Package].ID
	s.Result.Notices = append(s.Result.Notices, Notice{
		At: at, Kind: NoticeServiceStop, Account: stop.Account, Package: stop.Package, Meter: stop.Meter,
		CycleStart: stop.CycleStart, RecordID: string(id),
		DedupKey: dedupKey(NoticeServiceStop.String(), account, meter, pkg, stop.CycleStart.String()),
	})
}

// noticeArrears tells that the payer's balance does not cover a charge: once until a top-up makes it whole.
func (s *Settler) noticeArrears(b *Batch, i int) {
	since := "start"
	if s.episode != Beginning {
		since = s.episode.String()
	}
	s.Result.Notices = append(s.Result.Notices, Notice{
		At: max(b.Time[i], s.period.Start), Kind: NoticeArrears, Account: s.payer, Package: None, Meter: b.Meter[i], RecordID: string(b.ID(i)),
		DedupKey: dedupKey(NoticeArrears.String(), s.catalog.Accounts[s.payer].ID, since),
	})
}

// lifeNotice tells of a stage of a package that nobody renewed. What happened before the period was told then.
func (s *Settler) lifeNotice(r *packageRun, kind NoticeKind, at Instant, silent bool) {
	if silent || at < s.period.Start {
		return
	}
	s.Result.Notices = append(s.Result.Notices, Notice{
		At: at, Kind: kind, Account: r.pkg.Account, Package: r.Package, Meter: None, CycleStart: r.CycleStart,
		DedupKey: dedupKey(kind.String(), r.pkg.ID, r.TermEnd.String()),
	})
}

// lateLifeNotice tells of the stage of a package that was entered after it had expired.
func (s *Settler) lateLifeNotice(r *packageRun) {
	switch {
	case r.Stage == StageGrace:
		s.lifeNotice(r, NoticeGrace, s.period.Start, false)
	case r.Stage == StageRetention:
		s.lifeNotice(r, NoticeRetention, s.period.Start, false)
	}
}

// remind finds the expiry reminders that are due in the period (R6.2).
func (s *Settler) remind() {
	if len(s.reminders) == 0 {
		return
	}
	for i := range s.runs {
		r := &s.runs[i]
		known, end := max(r.pkg.Created, r.knownFrom), r.pkg.Expires
		for c := 0; ; {
			for c < len(r.pkg.Changes) && r.pkg.Changes[c].Kind == Resized {
				c++
			}
			superseded := Never // by what is known later
			if c < len(r.pkg.Changes) {
				superseded = r.pkg.Changes[c].At
			}
			s.remindOf(r, end, known, superseded)
			if superseded == Never || r.pkg.Changes[c].Kind == Revoked {
				break
			}
			known, end = max(superseded, r.knownFrom), r.pkg.Changes[c].Expires
			if slices.Contains(r.late, c) {
				known = max(known, s.period.Start)
			}
			c++
		}
	}
}

// remindOf finds the reminders of one end of a package, which is known in [known, superseded).
func (s *Settler) remindOf(r *packageRun, end, known, superseded Instant) {
	if known >= s.period.End || superseded <= s.period.Start || end <= s.period.Start {
		return
	}
	for _, days := range s.reminders {
		if end-Instant(days+2)*day >= s.period.End && known < s.period.Start {
			continue // spares the calendar
		}
		at := max(r.zone.addDays(end, -days), known)
		if at < s.period.Start || at >= s.period.End || at >= superseded || at >= end {
			continue
		}
		s.Result.Notices = append(s.Result.Notices, Notice{
			At: at, Kind: NoticeExpiryReminder, Account: r.pkg.Account, Package: r.Package, Meter: None,
			Threshold: int64(days) * pow10[maxScale],
			DedupKey:  dedupKey(NoticeExpiryReminder.String(), r.pkg.ID, end.String(), strconv.Itoa(days)),
		})
	}
}

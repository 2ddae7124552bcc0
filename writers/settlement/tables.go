package settlement

import (
	"cmp"
	"fmt"

	"drawdown/rating"
)

// table is one of the tables of a revision.
type table int

const (
	tableLines table = iota
	tableCharges
	tableBalances
	tableNotices
	tableQuarantine
	tableCount
)

var tables = [tableCount]struct {
	name  string
	specs []spec
	sort  []string
}{
	tableLines:      {"lines", lineSpecs, lineSort},
	tableCharges:    {"charges", chargeSpecs, []string{"payer", "account", "meter", "month", "price_id", "tier", "late"}},
	tableBalances:   {"balances", balanceSpecs, []string{"payer", "account", "package", "cycle_start"}},
	tableNotices:    {"notices", noticeSpecs, []string{"payer", "at", "kind"}},
	tableQuarantine: {"quarantine", quarantineSpecs, []string{"source_object"}},
}

const (
	chargePeriodStart = iota
	chargePeriodEnd
	chargePayer
	chargeAccount
	chargeMeter
	chargeMonth
	chargePriceID
	chargeTier
	chargeLate
	chargeQuantity
	chargeUnitPrice
	chargePer
	chargeAmount
	chargeCurrency
	chargeLineCount
)

var chargeSpecs = []spec{
	chargePeriodStart: {"period_start", instantType, keyed, 0, int64Entry},
	chargePeriodEnd:   {"period_end", instantType, keyed, 0, int64Entry},
	chargePayer:       {"payer", textType, keyed, 0, accountEntry},
	chargeAccount:     {"account", textType, keyed, 0, accountEntry},
	chargeMeter:       {"meter", textType, keyed, 0, meterEntry},
	chargeMonth:       {"month", textType, keyed, 0, monthEntry},
	chargePriceID:     {"price_id", textType, keyed, 0, priceEntry},
	chargeTier:        {"tier", int32Type, keyed, ofTier, int32Entry},
	chargeLate:        {"late", boolType, flags, 0, nil},
	chargeQuantity:    {"quantity", decimalType, strides, 0, nil},
	chargeUnitPrice:   {"unit_price", decimalType, keyed, ofUnitPrice, decimalEntry},
	chargePer:         {"per", decimalType, keyed, ofUnitPrice, decimalEntry},
	chargeAmount:      {"amount", decimalType, strides, 0, nil},
	chargeCurrency:    {"currency", textType, keyed, 0, currencyEntry},
	chargeLineCount:   {"line_count", int64Type, steps, 0, nil},
}

func (s *Shard) addCharges(payer int32, charges []rating.Charge) error {
	t, n := s.table(tableCharges), s.names
	c := t.columns
	for i := range charges {
		charge := &charges[i]
		if i > 0 && compareCharges(&charges[i-1], charge) >= 0 {
			return fmt.Errorf("charge %d comes after its place in the order of charges", i)
		}
		c[chargePeriodStart].put(n, int64(n.period.Start))
		c[chargePeriodEnd].put(n, int64(n.period.End))
		c[chargePayer].put(n, n.accountKey(payer))
		c[chargeAccount].put(n, n.accountKey(charge.Account))
		c[chargeMeter].put(n, int64(charge.Meter))
		c[chargeMonth].put(n, int64(charge.Month)-firstMonth)
		c[chargePriceID].put(n, int64(charge.Price))
		s.putPrice(t, chargeTier, chargeUnitPrice, chargePer, charge.Price, charge.Tier)
		c[chargeLate].flags = append(c[chargeLate].flags, charge.Late)
		quantity := rating.DecimalOf(charge.Quantity, int(n.meterScale[charge.Meter]))
		c[chargeQuantity].decimals = append(c[chargeQuantity].decimals, quantity)
		c[chargeAmount].decimals = append(c[chargeAmount].decimals, charge.Amount)
		currency := n.priceCurrency[charge.Price]
		c[chargeCurrency].put(n, int64(currency))
		c[chargeLineCount].ints = append(c[chargeLineCount].ints, charge.LineCount)
		s.tally.charged[currency] = sum(s.tally.charged[currency], charge.Amount)
		if err := t.endRows(1); err != nil {
			return err
		}
	}
	return nil
}

func compareCharges(a, b *rating.Charge) int {
	late := func(c *rating.Charge) int {
		if c.Late {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Meter, b.Meter), cmp.Compare(a.Month, b.Month),
		cmp.Compare(a.Price, b.Price), cmp.Compare(a.Tier, b.Tier), late(a)-late(b))
}

const (
	balancePeriodStart = iota
	balancePeriodEnd
	balancePayer
	balanceAccount
	balancePackage
	balanceCycleStart
	balanceCycleEnd
	balanceQuota
	balanceOpening
	balanceGranted
	balanceRolledOver
	balanceDeducted
	balanceExpired
	balanceRevoked
	balanceClosing
	balanceState
)

var balanceSpecs = []spec{
	balancePeriodStart: {"period_start", instantType, keyed, 0, int64Entry},
	balancePeriodEnd:   {"period_end", instantType, keyed, 0, int64Entry},
	balancePayer:       {"payer", textType, keyed, 0, accountEntry},
	balanceAccount:     {"account", textType, keyed, 0, accountEntry},
	balancePackage:     {"package", textType, keyed, 0, packageEntry},
	balanceCycleStart:  {"cycle_start", instantType, keyed, 0, int64Entry},
	balanceCycleEnd:    {"cycle_end", instantType, keyed, 0, int64Entry},
	balanceQuota:       {"quota", decimalType, strides, 0, nil},
	balanceOpening:     {"opening", decimalType, strides, 0, nil},
	balanceGranted:     {"granted", decimalType, strides, 0, nil},
	balanceRolledOver:  {"rolled_over", decimalType, strides, 0, nil},
	balanceDeducted:    {"deducted", decimalType, strides, 0, nil},
	balanceExpired:     {"expired", decimalType, strides, 0, nil},
	balanceRevoked:     {"revoked", decimalType, strides, 0, nil},
	balanceClosing:     {"closing", decimalType, strides, 0, nil},
	balanceState:       {"state", textType, keyed, 0, stateEntry},
}

// payerBalance is a balance that has not been filled into columns.
type payerBalance struct {
	rating.Balance
	payer int32
}

func (s *Shard) addBalances(payer int32, balances []rating.Balance) error {
	for i := range balances {
		b := &balances[i]
		if i > 0 && s.compareBalances(&balances[i-1], b) >= 0 {
			return fmt.Errorf("balance of package %q comes after its place in the order of balances",
				s.names.Catalog.Packages[b.Package].ID)
		}
		if s.waiting.balances = append(s.waiting.balances, payerBalance{*b, payer}); len(s.waiting.balances) >= rowsAtOnce {
			if err := s.flushBalances(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Shard) flushBalances() error {
	for rows := s.waiting.balances; len(rows) > 0; {
		t := s.table(tableBalances)
		n := min(len(rows), t.room())
		s.fillBalances(t.columns, rows[:n])
		if err := t.endRows(n); err != nil {
			return err
		}
		rows = rows[n:]
	}
	s.waiting.balances = s.waiting.balances[:0]
	return nil
}

func (s *Shard) fillBalances(c []column, rows []payerBalance) {
	n := s.names
	columns := [...]int{
		balancePeriodStart, balancePeriodEnd, balancePayer, balanceAccount, balancePackage, balanceCycleStart, balanceCycleEnd, balanceState,
	}
	var keys [len(columns)][]int64
	var decimals [balanceClosing - balanceQuota + 1][]rating.Amount
	for j, column := range columns {
		keys[j] = c[column].later
	}
	for j := range decimals {
		decimals[j] = c[balanceQuota+j].decimals
	}
	for i := range rows {
		b := &rows[i]
		for j, key := range [...]int64{
			int64(n.period.Start), int64(n.period.End), n.accountKey(b.payer), n.accountKey(n.packageAccount[b.Package]), n.packageKey(b.Package),
			int64(b.CycleStart), int64(b.CycleEnd), int64(b.State),
		} {
			keys[j] = append(keys[j], key)
		}
		scale := int(n.packageScale[b.Package])
		for j, quantity := range [...]int64{
			b.Quota, b.Opening, b.Granted, b.RolledOver, b.Deducted, b.Expired, b.Revoked, b.Closing,
		} {
			decimals[j] = append(decimals[j], rating.DecimalOf(quantity, scale))
		}
	}
	for j, column := range columns {
		c[column].later = keys[j]
	}
	for j := range decimals {
		c[balanceQuota+j].decimals = decimals[j]
	}
}

func (s *Shard) compareBalances(a, b *rating.Balance) int {
	account := s.names.packageAccount
	return cmp.Or(cmp.Compare(account[a.Package], account[b.Package]), cmp.Compare(a.Package, b.Package),
		cmp.Compare(a.CycleStart, b.CycleStart))
}

const (
	noticePeriodStart = iota
	noticeKind
	noticePayer
	noticeAccount
	noticePackage
	noticeMeter
	noticeCycleStart
	noticeThresholdType
	noticeThreshold
	noticeRemaining
	noticeAt
	noticeRecordID
	noticeDedupKey
)

const (
	_ = iota
	ofPackage
	ofMeter
	ofCycle
	ofAlert
	ofThreshold
	ofRecord
)

var noticeSpecs = []spec{
	noticePeriodStart:   {"period_start", instantType, keyed, 0, int64Entry},
	noticeKind:          {"kind", textType, keyed, 0, noticeKindEntry},
	noticePayer:         {"payer", textType, keyed, 0, accountEntry},
	noticeAccount:       {"account", textType, keyed, 0, accountEntry},
	noticePackage:       {"package", textType, keyed, ofPackage, packageEntry},
	noticeMeter:         {"meter", textType, keyed, ofMeter, meterEntry},
	noticeCycleStart:    {"cycle_start", instantType, keyed, ofCycle, int64Entry},
	noticeThresholdType: {"threshold_type", textType, keyed, ofAlert, thresholdTypeEntry},
	noticeThreshold:     {"threshold", decimalType, strides, ofThreshold, nil},
	noticeRemaining:     {"remaining", decimalType, strides, ofAlert, nil},
	noticeAt:            {"at", instantType, steps, 0, nil},
	noticeRecordID:      {"record_id", textType, strs, ofRecord, nil},
	noticeDedupKey:      {"dedup_key", textType, strs, 0, nil},
}

func (s *Shard) addNotices(payer int32, notices []rating.Notice) error {
	t, n := s.table(tableNotices), s.names
	c := t.columns
	for i := range notices {
		notice := &notices[i]
		if i > 0 && compareNotices(&notices[i-1], notice) > 0 {
			return fmt.Errorf("notice %q comes after its place in the order of notices", notice.DedupKey)
		}
		c[noticePeriodStart].put(n, int64(n.period.Start))
		c[noticeKind].put(n, int64(notice.Kind))
		c[noticePayer].put(n, n.accountKey(payer))
		c[noticeAccount].put(n, n.accountKey(notice.Account))
		c[noticeAt].ints = append(c[noticeAt].ints, int64(notice.At))
		c[noticeDedupKey].putText(notice.DedupKey)
		s.fillOptional(t, notice)
		if err := t.endRows(1); err != nil {
			return err
		}
	}
	return nil
}

// fillOptional fills what only some kinds of notice have.
func (s *Shard) fillOptional(t *tableFile, notice *rating.Notice) {
	n, c := s.names, t.columns
	alert := notice.Kind == rating.NoticeUsageAlert
	has := func(pattern int, ok bool) bool {
		t.patterns[pattern].add(ok)
		return ok
	}
	if has(ofPackage, notice.Package != rating.None) {
		c[noticePackage].put(n, n.packageKey(notice.Package))
	}
	if has(ofMeter, notice.Meter != rating.None) {
		c[noticeMeter].put(n, int64(notice.Meter))
	}
	if has(ofCycle, alert || notice.Kind == rating.NoticeServiceStop) {
		c[noticeCycleStart].put(n, int64(notice.CycleStart))
	}
	if has(ofThreshold, alert || notice.Kind == rating.NoticeExpiryReminder) {
		c[noticeThreshold].decimals = append(c[noticeThreshold].decimals, rating.AmountOf(notice.Threshold))
	}
	if has(ofAlert, alert) {
		c[noticeThresholdType].put(n, int64(notice.Type))
		remaining := rating.DecimalOf(notice.Remaining, int(n.packageScale[notice.Package]))
		c[noticeRemaining].decimals = append(c[noticeRemaining].decimals, remaining)
	}
	if has(ofRecord, notice.RecordID != "") {
		c[noticeRecordID].putText(notice.RecordID)
	}
}

func compareNotices(a, b *rating.Notice) int {
	return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Package, b.Package),
		cmp.Compare(b.Threshold, a.Threshold), cmp.Compare(a.Account, b.Account), cmp.Compare(a.Meter, b.Meter))
}

const (
	quarantineSourceObject = iota
	quarantineSourceRow
	quarantineReason
	quarantineDetail
	quarantineRecordID
	quarantineAccount
	quarantineMeter
	quarantineRaw
)

const (
	_ = iota
	ofRow
	ofKnownRecord
	ofKnownAccount
	ofKnownMeter
)

var quarantineSpecs = []spec{
	quarantineSourceObject: {"source_object", textType, keyed, 0, objectEntry},
	quarantineSourceRow:    {"source_row", int64Type, steps, ofRow, nil},
	quarantineReason:       {"reason", textType, keyed, 0, reasonEntry},
	quarantineDetail:       {"detail", textType, strs, 0, nil},
	quarantineRecordID:     {"record_id", textType, strs, ofKnownRecord, nil},
	quarantineAccount:      {"account", textType, strs, ofKnownAccount, nil},
	quarantineMeter:        {"meter", textType, strs, ofKnownMeter, nil},
	quarantineRaw:          {"raw", bytesType, strs, 0, nil},
}

func addRejected(t *tableFile, n *names, object int32, r *rating.Rejected) error {
	c := t.columns
	c[quarantineSourceObject].put(n, int64(object))
	t.patterns[ofRow].add(r.Row > 0)
	if r.Row > 0 {
		c[quarantineSourceRow].ints = append(c[quarantineSourceRow].ints, r.Row)
	}
	c[quarantineReason].put(n, int64(r.Reason))
	c[quarantineDetail].putText(r.Detail)
	for i, text := range [...]string{r.RecordID, r.Account, r.Meter} {
		t.patterns[ofKnownRecord+i].add(text != "")
		if text != "" {
			c[quarantineRecordID+i].putText(text)
		}
	}
	c[quarantineRaw].putBytes(r.Raw)
	return t.endRows(1)
}

package settlement

import (
	"encoding/binary"
	"fmt"
	"slices"

	"drawdown/rating"
)

// Names says what the numbers in results stand for.
type Names struct {
	Catalog *rating.Catalog
	Objects []string // keys of the run's objects, by number
}

// names is Names with what is looked up for every line beside it.
type names struct {
	Names
	period          rating.Period
	currencies      []string // sorted
	accountCurrency []int32
	priceCurrency   []int32
	meterScale      []uint8
	packageScale    []uint8
	packageAccount  []int32
	meterIndex      map[string]int32
	numbers         *numbers // of the shard
}

// numbers number a shard's accounts and packages anew, in the order in which they come: the dictionaries of its files, of each
// period and table, then need room for these alone.
type numbers struct{ accounts, packages renumbered }

type renumbered struct {
	own     []int32 // by number of the catalog: the shard's + 1
	catalog []int32 // by number of the shard
}

func (m *renumbered) of(number int32) int64 {
	if int(number) >= len(m.own) {
		m.own = append(m.own, make([]int32, max(int(number)+1-len(m.own), len(m.own)))...)
	}
	if m.own[number] == 0 {
		m.catalog = append(m.catalog, number)
		m.own[number] = int32(len(m.catalog))
	}
	return int64(m.own[number] - 1)
}

func (n *names) accountKey(account int32) int64 { return n.numbers.accounts.of(account) }

func (n *names) packageKey(pkg int32) int64 { return n.numbers.packages.of(pkg) }

func newNames(n Names) *names {
	c := n.Catalog
	m := &names{
		Names:           n,
		accountCurrency: make([]int32, len(c.Accounts)),
		priceCurrency:   make([]int32, len(c.Prices)),
		meterScale:      make([]uint8, len(c.Meters)),
		meterIndex:      make(map[string]int32, len(c.Meters)),
	}
	known := map[string]int32{}
	each := func(visit func(currency string, to *int32)) {
		for i := range c.Accounts {
			visit(c.Accounts[i].Currency, &m.accountCurrency[i])
		}
		for i := range c.Prices {
			visit(c.Prices[i].Currency, &m.priceCurrency[i])
		}
	}
	each(func(currency string, _ *int32) { known[m.orDefault(currency)] = 0 })
	for currency := range known {
		m.currencies = append(m.currencies, currency)
	}
	slices.Sort(m.currencies)
	for i, currency := range m.currencies {
		known[currency] = int32(i)
	}
	each(func(currency string, to *int32) { *to = known[m.orDefault(currency)] })
	for i := range c.Meters {
		m.meterScale[i] = uint8(c.Meters[i].Scale)
		m.meterIndex[c.Meters[i].ID] = int32(i)
	}
	m.packages()
	return m
}

func (n *names) packages() {
	all := n.Catalog.Packages
	n.packageScale, n.packageAccount = make([]uint8, len(all)), make([]int32, len(all))
	for i := range all {
		n.packageScale[i], n.packageAccount[i] = uint8(all[i].Scale), all[i].Account
	}
}

// of gives the names of a shard, which has a part of the catalog, or all of it.
func (n *names) of(c *rating.Catalog, numbers *numbers) *names {
	part := *n
	part.numbers = numbers
	if c != n.Catalog {
		part.Catalog = c
		part.packages()
	}
	return &part
}

func (n *names) orDefault(currency string) string {
	if currency == "" {
		return n.Catalog.Currency
	}
	return currency
}

// step gives the tier of a price that a line or charge was priced by. A volume or block price has no price per unit.
func (n *names) step(price, tier int32) (t rating.Tier, ok bool) {
	p := &n.Catalog.Prices[price]
	if p.Model != rating.Flat && p.Model != rating.Graduated {
		return t, false
	}
	return p.Tiers[max(tier-1, 0)], true
}

func (n *names) meterNumber(id string) int {
	if i, ok := n.meterIndex[id]; ok {
		return int(i)
	}
	return -1
}

func (n *names) currencyNumber(currency string) int {
	if i, ok := slices.BinarySearch(n.currencies, currency); ok {
		return i
	}
	return -1
}

// What the keys of dictionaries stand for, in plain encoding.

func appendText(dst []byte, text string) []byte {
	return append(binary.LittleEndian.AppendUint32(dst, uint32(len(text))), text...)
}

func accountEntry(n *names, dst []byte, key int64) []byte {
	return appendText(dst, n.Catalog.Accounts[n.numbers.accounts.catalog[key]].ID)
}

func meterEntry(n *names, dst []byte, key int64) []byte {
	return appendText(dst, n.Catalog.Meters[key].ID)
}

func packageEntry(n *names, dst []byte, key int64) []byte {
	return appendText(dst, n.Catalog.Packages[n.numbers.packages.catalog[key]].ID)
}

func priceEntry(n *names, dst []byte, key int64) []byte {
	return appendText(dst, n.Catalog.Prices[key].ID)
}

func objectEntry(n *names, dst []byte, key int64) []byte { return appendText(dst, n.Objects[key]) }

func currencyEntry(n *names, dst []byte, key int64) []byte { return appendText(dst, n.currencies[key]) }

func lineKindEntry(_ *names, dst []byte, key int64) []byte {
	return appendText(dst, rating.LineKind(key).String())
}

func noticeKindEntry(_ *names, dst []byte, key int64) []byte {
	return appendText(dst, rating.NoticeKind(key).String())
}

func stateEntry(_ *names, dst []byte, key int64) []byte {
	return appendText(dst, rating.BalanceState(key).String())
}

func reasonEntry(_ *names, dst []byte, key int64) []byte {
	return appendText(dst, rating.Reason(key).String())
}

func thresholdTypeEntry(_ *names, dst []byte, key int64) []byte {
	return appendText(dst, [...]string{rating.Percentage: "percentage", rating.Absolute: "absolute"}[key])
}

// firstMonth is where the keys of months begin, so that they are small.
const firstMonth = 2000 * 12

func monthEntry(_ *names, dst []byte, key int64) []byte {
	key += firstMonth
	return appendText(dst, fmt.Sprintf("%04d-%02d", key/12, key%12+1))
}

func int64Entry(_ *names, dst []byte, key int64) []byte {
	return binary.LittleEndian.AppendUint64(dst, uint64(key))
}

func int32Entry(_ *names, dst []byte, key int64) []byte {
	return binary.LittleEndian.AppendUint32(dst, uint32(key))
}

func decimalEntry(_ *names, dst []byte, key int64) []byte {
	a := rating.AmountOf(key)
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, uint64(a.Hi)), a.Lo)
}

package rating

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"
)

func (c *compiler) meters() {
	rows := make([]keyed, len(c.draft.Meters))
	for i := range rows {
		rows[i] = keyed{id: c.draft.Meters[i].ID, row: int32(i)}
	}
	c.catalog.meterByID = c.index(KindMeter, rows)
	c.catalog.Meters = make([]Meter, len(rows))
	for i, k := range rows {
		d := &c.draft.Meters[k.row]
		r := row{c, KindMeter, int(k.row), d.ID}
		r.labels("R2.2", "unit", d.Unit, "description", d.Description)
		m := Meter{ID: d.ID, Unit: d.Unit, Description: d.Description, Max: math.MaxInt64}
		m.Scale = int(r.integer("scale", d.Scale, "R2.2", 0, maxScale, 0))
		m.Max = r.optionalDecimal("max", d.Max, "R2.2", m.Scale, m.Max)
		c.catalog.Meters[i] = m
	}
}

func (c *compiler) accounts() {
	rows := make([]keyed, len(c.draft.Accounts))
	for i := range rows {
		rows[i] = keyed{id: c.draft.Accounts[i].ID, row: int32(i)}
	}
	cat := c.catalog
	cat.accountByID = c.index(KindAccount, rows)
	cat.Accounts = make([]Account, len(rows))
	for i, k := range rows {
		cat.Accounts[i] = c.account(row{c, KindAccount, int(k.row), k.id}, &c.draft.Accounts[k.row], int32(i))
	}
	for i, k := range rows {
		a := &cat.Accounts[i]
		if a.Payer == int32(i) {
			continue
		}
		r := row{c, KindAccount, int(k.row), k.id}
		if payer := &cat.Accounts[a.Payer]; payer.Payer != a.Payer {
			last := cat.Accounts[payer.Payer].ID
			r.fault("payer", "R2.1", "name the account that pays in the end, or let "+payer.ID+" pay for itself",
				"its payer %q does not pay for itself: %q pays for it", payer.ID, last)
		}
		if a.Tracked {
			r.fault("balance", "R2.1", "move the balance to the payer", "it has a balance, but %q pays for it", cat.Accounts[a.Payer].ID)
		}
	}
}

func (c *compiler) account(r row, d *AccountDraft, self int32) Account {
	r.labels("R2.1", "name", d.Name, "locale", d.Locale)
	a := Account{ID: d.ID, Name: d.Name, Email: d.Email, Phone: d.Phone, Locale: d.Locale, Payer: self}
	a.Currency = r.currency(d.Currency, "R2.1", c.config.Currency)
	a.Zone = r.zone(d.TimeZone)
	if d.Payer != "" {
		if payer, ok := r.reference("payer", d.Payer, KindAccount, c.catalog.accountByID); ok {
			a.Payer = payer
		}
	}
	if d.Balance != "" {
		a.Balance, a.Tracked = r.amount("balance", d.Balance, "R2.1")
	}
	if d.Email != "" && !validEmail(d.Email) {
		r.fault("email", "R2.1", "write it as name@example.com", "email %q is not an address", d.Email)
	}
	if d.Phone != "" && !validPhone(d.Phone) {
		r.fault("phone", "R2.1", "write digits only, with a + before the country code, such as +4915112345678", "phone %q is not a number", d.Phone)
	}
	return a
}

// zone finds an account's time zone; a missing one is the billing zone.
func (r row) zone(name string) *time.Location {
	c := r.c
	if name == "" {
		return c.config.Zone
	}
	zone, known := c.zones[name]
	if !known {
		if name != "Local" && c.config.LoadZone != nil { // "Local" would mean another thing on another machine
			zone, _ = c.config.LoadZone(name)
		}
		c.zones[name] = zone
	}
	if zone == nil {
		r.fault("time_zone", "R1.7", "write an IANA name, such as Asia/Shanghai", "time zone %q is unknown", name)
		return c.config.Zone
	}
	return zone
}

func validEmail(text string) bool {
	name, host, found := strings.Cut(text, "@")
	return found && name != "" && host != "" && !strings.Contains(host, "@") && plain(text) && !strings.ContainsAny(text, " <>,;")
}

func validPhone(text string) bool {
	digits := strings.TrimPrefix(text, "+")
	return len(digits) >= 3 && len(digits) <= 20 && strings.Trim(digits, "0123456789") == ""
}

func (c *compiler) topUps() {
	cat := c.catalog
	rows := make([]int32, 0, len(c.draft.TopUps)) // of each top-up, its row in the draft
	tops := make([]TopUp, 0, len(c.draft.TopUps))
	for i := range c.draft.TopUps {
		d := &c.draft.TopUps[i]
		r := row{c, KindTopUp, i, d.Account}
		if top, ok := c.topUp(r, d); ok {
			rows, tops = append(rows, int32(len(rows))), append(tops, top)
		}
	}
	slices.SortFunc(rows, func(a, b int32) int {
		return cmp.Or(cmp.Compare(tops[a].Account, tops[b].Account), cmp.Compare(tops[a].At, tops[b].At), cmp.Compare(a, b))
	})
	cat.TopUps = make([]TopUp, len(rows))
	for i, at := range rows {
		cat.TopUps[i] = tops[at]
	}
	if len(tops) == len(c.draft.TopUps) {
		c.uniqueTopUps(rows)
	}
}

func (c *compiler) topUp(r row, d *TopUpDraft) (TopUp, bool) {
	var top TopUp
	ok := true
	zone := c.config.Zone
	if account, found := r.reference("account", d.Account, KindAccount, c.catalog.accountByID); found {
		top.Account = account
		a := &c.catalog.Accounts[account]
		zone = a.Zone
		switch payer := c.catalog.Accounts[a.Payer].ID; {
		case a.Payer != account:
			r.fault("account", "R2.7", "name the payer "+payer, "it does not pay for itself: %q pays for it", payer)
		case !a.Tracked:
			r.fault("account", "R2.7", "give the account a balance, such as `balance: 0`", "the account's cash is not tracked")
		}
	} else {
		ok = false
	}
	if at, valid := r.requiredMoment("at", d.At, zone); valid {
		top.At = at
	} else {
		ok = false
	}
	if !r.require("amount", d.Amount) {
		return top, false
	}
	amount, valid := r.amount("amount", d.Amount, "R2.7")
	if valid && amount.Sign() <= 0 {
		r.fault("amount", "R2.7", "write what was paid in, more than 0", "amount %q is not above 0", d.Amount)
	}
	top.Amount = amount
	return top, ok && valid
}

func (r row) requiredMoment(field, text string, zone *time.Location) (Instant, bool) {
	if !r.require(field, text) {
		return 0, false
	}
	return r.moment(field, text, zone)
}

// uniqueTopUps reports a second top-up of one account and instant: a file applied again could not be told from a
// second payment.
func (c *compiler) uniqueTopUps(rows []int32) {
	tops := c.catalog.TopUps
	for i := 1; i < len(tops); i++ {
		if tops[i].Account == tops[i-1].Account && tops[i].At == tops[i-1].At {
			r := row{c, KindTopUp, int(rows[i]), c.catalog.Accounts[tops[i].Account].ID}
			r.fault("at", "R2.8", "remove one, add the amounts up, or move one by a microsecond",
				"there are two top-ups at %s, and a repeat cannot be told from a second payment", tops[i].At)
		}
	}
}

// tracked reports payers with a balance whose accounts can meet a price in another currency: it could not be paid.
func (c *compiler) tracked() {
	cat := c.catalog
	foreign := map[int32]int32{} // payer -> a price in another currency
	var general []int32          // the first price of each currency, of those for everybody
	for p := range cat.Prices {
		price := &cat.Prices[p]
		if price.Account == None {
			if !slices.ContainsFunc(general, func(g int32) bool { return cat.Prices[g].Currency == price.Currency }) {
				general = append(general, int32(p))
			}
			continue
		}
		payer := cat.Accounts[price.Account].Payer
		if _, found := foreign[payer]; !found && price.Currency != cat.Accounts[payer].Currency {
			foreign[payer] = int32(p)
		}
	}
	for i := range c.draft.Accounts {
		self, known := cat.accountByID[c.draft.Accounts[i].ID]
		if !known || !cat.Accounts[self].Tracked || cat.Accounts[self].Payer != self {
			continue
		}
		price, found := foreign[self]
		for _, g := range general {
			if !found && cat.Prices[g].Currency != cat.Accounts[self].Currency {
				price, found = g, true
			}
		}
		if found {
			row{c, KindAccount, i, cat.Accounts[self].ID}.fault("balance", "R2.1", "use one currency for both, or leave the balance out",
				"its balance is in %s, but price %q is in %s", cat.Accounts[self].Currency, cat.Prices[price].ID, cat.Prices[price].Currency)
		}
	}
}

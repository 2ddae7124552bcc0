package rating

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// changes reads package_changes, and walks through those of each package in their order.
func (c *compiler) changes() {
	drafts := c.draft.Changes
	type placed struct {
		Change
		pack, row int32
	}
	all := make([]placed, 0, len(drafts))
	for i := range drafts {
		r := row{c, KindChange, i, drafts[i].Package}
		pack, ok := r.reference("package", drafts[i].Package, KindPackage, c.catalog.packageByID)
		if !ok {
			continue
		}
		p := &c.catalog.Packages[pack]
		if change, valid := r.change(&drafts[i], p, c.zoneOf(p)); valid {
			all = append(all, placed{change, pack, int32(i)})
		}
	}
	slices.SortFunc(all, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.pack, b.pack), cmp.Compare(a.At, b.At), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.row, b.row))
	})
	changes, rows := make([]Change, len(all)), make([]int32, len(all))
	for from, to := 0, 0; from < len(all); from = to {
		pack := all[from].pack
		for to = from; to < len(all) && all[to].pack == pack; to++ {
			changes[to], rows[to] = all[to].Change, all[to].row
		}
		p := &c.catalog.Packages[pack]
		p.Changes = changes[from:to:to]
		if p.Expires > p.Effective && p.Account != None {
			c.walk(p, rows[from:to])
		}
	}
}

func (c *compiler) zoneOf(p *Package) *time.Location {
	if p.Account == None {
		return c.config.Zone
	}
	return c.catalog.Accounts[p.Account].Zone
}

var changeNames = [...]string{"renewed", "extended", "resized", "revoked"}

// change reads one change of a package.
func (r row) change(d *ChangeDraft, p *Package, zone *time.Location) (Change, bool) {
	var change Change
	at, ok := r.requiredMoment("at", d.At, zone)
	change.At = at
	given := 0
	for kind, text := range [...]string{d.RenewedExpires, d.Extended, d.ResizedQuota, d.Revoked} {
		if text != "" {
			given++
			change.Kind = ChangeKind(kind)
		}
	}
	if given != 1 {
		r.fault("", "R2.5", "write just one of renewed, extended, resized and revoked", "it has %d of the four kinds of change", given)
		return change, false
	}
	valid := true
	switch change.Kind {
	case Renewed:
		change.Expires, valid = r.end("renewed.expires", d.RenewedExpires, zone)
	case Extended:
		change.Expires, valid = r.end("extended.expires", d.Extended, zone)
	case Resized:
		change.Quota, valid = r.decimal("resized.quota", d.ResizedQuota, "R2.5", p.Scale)
	case Revoked:
		if valid = strings.EqualFold(d.Revoked, "true"); !valid {
			r.fault("revoked", "R2.5", "write `revoked: true`, or remove the row", "revoked %q revokes nothing", d.Revoked)
		}
	}
	return change, ok && valid
}

// walk follows a package's term through its changes, in their order.
func (c *compiler) walk(p *Package, rows []int32) {
	zone := c.zoneOf(p)
	end := p.Expires // of the last term known so far
	for i := range p.Changes {
		change := &p.Changes[i]
		r := row{c, KindChange, int(rows[i]), p.ID}
		if i > 0 {
			last := &p.Changes[i-1]
			if last.At == change.At && last.Kind == change.Kind {
				r.fault("at", "R2.8", "remove one, or move one by a microsecond",
					"it is %s twice at %s, and a repeat cannot be told from a second change", changeNames[change.Kind], change.At)
				continue
			}
			if last.Kind == Revoked {
				r.fault("at", "R2.5", "remove it, or the revocation", "it is %s at %s, but was revoked at %s", changeNames[change.Kind], change.At, last.At)
				return
			}
		}
		switch change.Kind {
		case Renewed:
			if change.Expires <= end {
				r.fault("renewed.expires", "R2.5", "let the new term end after the old one", "the new term ends at %s, not after the old end at %s", change.Expires, end)
				continue
			}
			if change.Expires <= change.At {
				r.fault("renewed.expires", "R2.5", "let the new term end after the renewal, or sell a new package",
					"it is renewed at %s until %s, which is over by then", change.At, change.Expires)
			}
			if released := releaseOf(p, end, zone); change.At >= released {
				r.fault("at", "R2.5", "sell a new package", "it is renewed at %s, but was released at %s", change.At, released)
			}
			r.cycleFits("renewed.expires", p, end, change.Expires, zone)
			end = change.Expires
		case Extended:
			switch {
			case change.Expires <= end:
				r.fault("extended.expires", "R2.5", "write a later end", "it is extended to %s, not after its end at %s", change.Expires, end)
				continue
			case change.At > end:
				r.fault("at", "R2.5", "use renewed: what has ended cannot be extended", "it is extended at %s, after its end at %s", change.At, end)
			}
			end = change.Expires
		}
	}
}

// releaseOf gives the instant at which a package that ended at end is past grace and retention.
func releaseOf(p *Package, end Instant, zone *time.Location) Instant {
	z := zoneCache{loc: zone}
	return z.addDays(end, p.GraceDays+p.RetentionDays)
}

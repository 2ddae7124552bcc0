package rating

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"
)

// CompileConfig is what [Compile] must know besides the rows.
type CompileConfig struct {
	Zone     *time.Location                            // billing time zone; nil is UTC
	LoadZone func(name string) (*time.Location, error) // finds an account's time zone; nil: none may have its own
	Currency string                                    // default currency
}

// Compile checks a draft and makes a catalog of it. It says everything that is wrong at once (R2.8): a catalog is
// given only where there is no fault. The draft is not changed.
func Compile(d *Draft, config CompileConfig) (*Catalog, []Fault) {
	if config.Zone == nil {
		config.Zone = time.UTC
	}
	c := newCompiler(d, config, &Catalog{Zone: config.Zone, Currency: config.Currency})
	c.meters()
	c.accounts()
	c.prices()
	c.packages()
	c.changes()
	c.rules()
	c.topUps()
	c.tracked()
	if len(c.faults) > 0 {
		return nil, c.sorted()
	}
	c.link()
	return c.catalog, nil
}

func newCompiler(d *Draft, config CompileConfig, catalog *Catalog) *compiler {
	return &compiler{
		draft: d, config: config, catalog: catalog, zones: map[string]*time.Location{}, days: map[dayKey]Instant{},
		plainCovers: map[plainCover][]Cover{}, suggestions: maxSuggestions,
	}
}

func (c *compiler) sorted() []Fault {
	slices.SortStableFunc(c.faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(kindRank(a.Kind), kindRank(b.Kind)), cmp.Compare(a.Index, b.Index))
	})
	return c.faults
}

// compiler is the work in hand. As long as nothing is wrong, rows of the catalog are those of the draft sorted by id;
// with duplicate ids the surplus rows stay where sorting puts them, since no catalog comes of it anyway.
type compiler struct {
	draft   *Draft
	config  CompileConfig
	catalog *Catalog
	faults  []Fault

	packageRows []int32 // of each package of the catalog, its row in the draft
	zones       map[string]*time.Location
	days        map[dayKey]Instant // first instants of local days: a bulk catalog names few of them
	plainCovers map[plainCover][]Cover
	suggestions int // how many more unknown ids may be compared with all known ones
}

func kindRank(k Kind) int {
	return slices.Index([]Kind{KindAccount, KindMeter, KindPrice, KindPackage, KindChange, KindRule, KindTopUp}, k)
}

// row is the row of the draft that is being looked at; faults are told of it.
type row struct {
	c     *compiler
	kind  Kind
	index int
	id    string // of a change: its package, of a top-up: its account
}

var rowNames = map[Kind]string{
	KindAccount: "account", KindMeter: "meter", KindPrice: "price", KindPackage: "package",
	KindChange: "change of package", KindRule: "alert rule", KindTopUp: "top-up of account",
}

// fault notes that a field is wrong. The message follows the row's name and id: `package "p1": quota "x" is …`.
func (r row) fault(field, rule, hint, format string, args ...any) {
	r.c.faults = append(r.c.faults, Fault{
		Kind: r.kind, Index: r.index, Field: field, Rule: rule, Hint: hint,
		Message: fmt.Sprintf("%s %q: ", rowNames[r.kind], r.id) + fmt.Sprintf(format, args...),
	})
}

// keyed is an id with its row in the draft.
type keyed struct {
	id    string
	first uint64 // the eight bytes of the id after what all ids begin with
	row   int32
}

// sortByID sorts rows by the bytes of their ids, and equal ids by row.
func sortByID(rows []keyed) {
	common := commonPrefix(rows)
	for i := range rows {
		var first [8]byte
		copy(first[:], rows[i].id[common:])
		rows[i].first = binary.BigEndian.Uint64(first[:])
	}
	slices.SortFunc(rows, func(a, b keyed) int {
		if a.first != b.first { // mostly: and without looking at the ids, which lie anywhere in memory
			return cmp.Compare(a.first, b.first)
		}
		return cmp.Or(strings.Compare(a.id, b.id), cmp.Compare(a.row, b.row))
	})
}

// commonPrefix gives how many bytes all ids have in common at their beginning.
func commonPrefix(rows []keyed) int {
	if len(rows) == 0 {
		return 0
	}
	common := rows[0].id
	for _, k := range rows {
		for !strings.HasPrefix(k.id, common) {
			common = common[:len(common)-1]
		}
	}
	return len(common)
}

// index sorts rows, maps ids to positions, and reports ids that are missing, malformed or taken.
func (c *compiler) index(kind Kind, rows []keyed) map[string]int32 {
	sortByID(rows)
	byID := make(map[string]int32, len(rows))
	for i, k := range rows {
		r := row{c, kind, int(k.row), k.id}
		if !r.checkID("id", k.id) {
			continue
		}
		if i > 0 && rows[i-1].id == k.id {
			r.fault("id", "R2.8", "give each its own id, or remove one of them", "the id is taken: another of `%s` has it", kind)
			continue
		}
		byID[k.id] = int32(i)
	}
	return byID
}

// link derives what follows from the checked rows: who belongs to whom.
func (c *compiler) link() {
	cat := c.catalog
	payers := make([]int32, len(cat.Accounts))
	for i := range cat.Accounts {
		payers[i] = cat.Accounts[i].Payer
	}
	members := group(len(payers), payers)
	for i := range cat.Accounts {
		cat.Accounts[i].members = members.of(int32(i))
	}
	cat.conditions = conditionsOf(cat.Packages)
	cat.accountIDs = newIDIndex(len(cat.Accounts), func(i int) string { return cat.Accounts[i].ID })
	cat.meterIDs = newIDIndex(len(cat.Meters), func(i int) string { return cat.Meters[i].ID })
	c.linkPackages()
}

// linkPackages derives who owns packages and top-ups.
func (c *compiler) linkPackages() {
	cat := c.catalog
	owners := make([]int32, len(cat.Packages))
	for i := range cat.Packages {
		owners[i] = cat.Accounts[cat.Packages[i].Account].Payer
	}
	cat.packagesOf = group(len(cat.Accounts), owners)
	tops := make([]int32, len(cat.TopUps))
	for i := range cat.TopUps {
		tops[i] = cat.TopUps[i].Account
	}
	cat.topUpsOf = group(len(cat.Accounts), tops)
	cat.packageIDs = newIDIndex(len(cat.Packages), func(i int) string { return cat.Packages[i].ID })
	cat.accountByID, cat.meterByID, cat.packageByID = nil, nil, nil
}

// groups are rows by the group that they belong to. For each group there are four bytes and no slice: a part of a catalog is
// made for each shard, and has all accounts.
type groups struct {
	starts []int32 // in rows, by group, and the end of the last one; nil: there are no rows
	rows   []int32
}

// group lists, for each of n groups, the positions in of that name it, ascending.
func group(n int, of []int32) groups {
	if len(of) == 0 {
		return groups{}
	}
	g := groups{make([]int32, n+1), make([]int32, len(of))}
	for _, name := range of {
		g.starts[name]++
	}
	end := int32(0)
	for i := range g.starts {
		end += g.starts[i]
		g.starts[i] = end
	}
	for i := len(of) - 1; i >= 0; i-- { // from the end of each group to its start
		g.starts[of[i]]--
		g.rows[g.starts[of[i]]] = int32(i)
	}
	return g
}

// of gives the rows of a group.
func (g *groups) of(group int32) []int32 {
	if g.starts == nil || g.starts[group] == g.starts[group+1] {
		return nil
	}
	from, to := g.starts[group], g.starts[group+1]
	return g.rows[from:to:to]
}

func conditionsOf(packages []Package) map[string][]string {
	conditions := map[string][]string{}
	for i := range packages {
		for _, cover := range packages[i].Covers {
			for _, where := range cover.Where {
				addCondition(conditions, where.Attribute, where.Values)
			}
		}
	}
	return conditions
}

// addCondition adds the values of an attribute that are asked for, sorted.
func addCondition(conditions map[string][]string, attribute string, values []string) {
	known := conditions[attribute]
	for _, value := range values {
		if at, found := slices.BinarySearch(known, value); !found {
			known = slices.Insert(known, at, value)
		}
	}
	conditions[attribute] = known
}

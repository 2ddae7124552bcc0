package rating

// PackageCount is how many packages the catalog has, in all of its parts.
func (c *Catalog) PackageCount() int { return max(c.inParts, len(c.Packages)) }

// Head makes a catalog without packages, of rows that were checked, the head of one whose packages are in parts: so many,
// with these conditions.
func (c *Catalog) Head(packages int, conditions map[string][]string) *Catalog {
	head := *c
	head.inParts, head.conditions = packages, conditions
	return &head
}

// Part compiles the packages of some payers, with all that is bound to these payers: changes, alert rules and top-ups. What
// it gives shares accounts, meters and prices with the head, by the same indexes; its packages have indexes of its own. The
// whole catalog was found to be valid before it was taken apart, so a fault says that the rows are others now.
func (c *Catalog) Part(d *Draft, config CompileConfig) (*Catalog, []Fault) {
	part := *c
	part.Packages, part.TopUps = nil, nil
	if config.Zone == nil {
		config.Zone = c.Zone
	}
	w := newCompiler(d, config, &part)
	part.meterByID = make(map[string]int32, len(c.Meters))
	for i := range c.Meters {
		part.meterByID[c.Meters[i].ID] = int32(i)
	}
	part.accountByID = map[string]int32{}
	for i := range d.Packages {
		w.know(d.Packages[i].Account)
	}
	for i := range d.Rules {
		w.know(d.Rules[i].Account)
	}
	for i := range d.TopUps {
		w.know(d.TopUps[i].Account)
	}
	w.packages()
	w.changes()
	w.rules()
	w.topUps()
	if len(w.faults) > 0 {
		return nil, w.sorted()
	}
	w.linkPackages()
	return &part, nil
}

// know looks up an account that a row of a part names.
func (c *compiler) know(id string) {
	if _, known := c.catalog.accountByID[id]; known {
		return
	}
	if i, found := c.catalog.accountIDs.find([]byte(id)); found {
		c.catalog.accountByID[id] = i
	}
}

// ConditionsOf gives every attribute that some `where` of a draft asks for, as [Catalog.Conditions] does.
func ConditionsOf(d *Draft) map[string][]string {
	conditions := map[string][]string{}
	for i := range d.Packages {
		for n := range d.Packages[i].Covers {
			for _, where := range d.Packages[i].Covers[n].Where {
				addCondition(conditions, where.Attribute, where.Values)
			}
		}
	}
	return conditions
}

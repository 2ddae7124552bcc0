package rating

// Draft is a catalog as somebody wrote it: rows of text fields, in the order of the file or table they stand in. An empty
// string is a field that was left out. References are by id, decimals and instants are still text. [Compile] turns a
// draft into a [Catalog], or says everything that is wrong with it.
type Draft struct {
	Accounts []AccountDraft
	Meters   []MeterDraft
	Prices   []PriceDraft
	Packages []PackageDraft
	Changes  []ChangeDraft
	Rules    []RuleDraft
	TopUps   []TopUpDraft
}

// AccountDraft is a row of `accounts` (R2.1).
type AccountDraft struct {
	ID, Name, Payer, TimeZone, Currency, Email, Phone, Locale, Balance string
}

// MeterDraft is a row of `meters` (R2.2).
type MeterDraft struct {
	ID, Unit, Scale, Max, Description string
}

// PriceDraft is a row of `prices` (R2.3).
type PriceDraft struct {
	ID, Meter, Account, From, To, Currency, Model, Counts string
	Price, Per                                            string // flat; block has Price and Size
	Size                                                  string
	Tiers                                                 []TierDraft
}

// TierDraft is a tier of a graduated or volume price.
type TierDraft struct {
	UpTo, Price, Per string
}

// PackageDraft is a row of `packages` (R2.4).
type PackageDraft struct {
	ID, Account, Product, Name, Kind, Quota, Unit, Scale, Effective, Expires, Created string
	Priority, Source, Shared, Reset, RolloverMax, GraceDays, RetentionDays            string
	PricePaid, Currency                                                               string
	Covers                                                                            []CoverDraft
}

// CoverDraft is an entry of a package's `covers`.
type CoverDraft struct {
	Meter, Rate, Hours string
	Where              []ConditionDraft // sorted by attribute
}

// ConditionDraft is one attribute of a `where`: it holds when the attribute has one of the values.
type ConditionDraft struct {
	Attribute string
	Values    []string
}

// ChangeDraft is a row of `package_changes` (R2.5): just one of the four is set.
type ChangeDraft struct {
	Package, At    string
	RenewedExpires string // renewed: {expires}
	Extended       string // extended: {expires}
	ResizedQuota   string // resized: {quota}
	Revoked        string // revoked: true
}

// RuleDraft is a row of `alert_rules` (R2.6).
type RuleDraft struct {
	ID, Account, Package, Type string
	Thresholds                 []string
	Channels                   []string
}

// TopUpDraft is a row of `topups` (R2.7).
type TopUpDraft struct {
	Account, At, Amount string
}

// Kind names a kind of catalog row, by the key under which it stands in a YAML catalog.
type Kind string

const (
	KindAccount Kind = "accounts"
	KindMeter   Kind = "meters"
	KindPrice   Kind = "prices"
	KindPackage Kind = "packages"
	KindChange  Kind = "package_changes"
	KindRule    Kind = "alert_rules"
	KindTopUp   Kind = "topups"
)

// Fault is one thing wrong with a draft. Kind and Index say which row of it; a reader adds file and line.
type Fault struct {
	Kind    Kind
	Index   int    // position in the draft's slice of that kind
	Field   string // as written in YAML, e.g. "covers[0].rate"; "" for the row as a whole
	Rule    string // of docs/rules.md, e.g. "R2.8"
	Message string // what is wrong, with the row's id and the value
	Hint    string // what to write instead
}

package rating

// Settler settles payers, one after another, and re-uses its memory. It is not safe for concurrent use; any number of
// them may work side by side on one Catalog.
//
//	s := rating.NewSettler(catalog, config, sets)
//	s.Begin(payer, period, opening) // opening may be nil: nothing was settled before
//	s.Add(batch)                    // any number of times, in canonical order
//	closing, err := s.End()
//
// What comes out stands in Result, to which every call appends; the caller takes it and resets it when it likes.
type Settler struct {
	Result Result
}

// NewSettler makes a settler. sets gives the meaning of the numbers in Batch.Attrs; it may grow between payers by SetAttributes.
func NewSettler(c *Catalog, config Config, sets []AttributeSet) *Settler { panic("not yet") }

// Begin starts a payer's period from its opening state.
func (s *Settler) Begin(payer int32, period Period, opening *PayerState) error { panic("not yet") }

// Add settles records of the payer, in canonical order, also across calls.
func (s *Settler) Add(b *Batch) error { panic("not yet") }

// End finishes the period and gives the closing state, which is the caller's to keep.
func (s *Settler) End() (*PayerState, error) { panic("not yet") }

// Totals gives the sums by meter over all payers settled so far.
func (s *Settler) Totals() []Totals { panic("not yet") }

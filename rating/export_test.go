package rating

// IndexFrom sets from how many packages and pairs on a payer's are looked up by index, so that small worlds take that way.
func (s *Settler) IndexFrom(many int) { s.many = many }

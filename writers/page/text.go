package page

import (
	"strings"
	"time"

	"drawdown/rating"
)

// grouped writes a number's whole part in groups of three: 1,234,567.5.
func grouped(number string) string {
	sign := ""
	if strings.HasPrefix(number, "-") {
		sign, number = "−", number[1:]
	}
	whole, rest, point := strings.Cut(number, ".")
	if point {
		rest = "." + rest
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	return sign + whole + rest
}

// money writes an amount with at least the currency's digits.
func (h *Head) money(m Money) string {
	number := m.Amount.String()
	whole, rest, _ := strings.Cut(number, ".")
	digits := 2
	if h.Digits != nil {
		digits = h.Digits(m.Currency)
	}
	for len(rest) < digits {
		rest += "0"
	}
	if rest != "" {
		whole += "." + rest
	}
	return grouped(whole)
}

// signed writes a plus before what is more.
func signed(n Number, text string) string {
	if rating.Amount(n).Sign() > 0 {
		return "+" + text
	}
	return text
}

func (h *Head) time(a At) time.Time { return rating.Instant(a).Time().In(h.Zone) }

// when writes an instant on the page's clock: the date alone where it is midnight.
func (h *Head) when(a At) string {
	t := h.time(a)
	switch {
	case t.Hour() == 0 && t.Minute() == 0 && t.Second() == 0 && t.Nanosecond() == 0:
		return t.Format("2006-01-02")
	case t.Second() == 0 && t.Nanosecond() == 0:
		return t.Format("2006-01-02 15:04")
	}
	return t.Format("2006-01-02 15:04:05")
}

// until writes the instant at which something ends as one says it: a date is the last day, to its end.
func (h *Head) until(a At) string {
	if text := h.when(a); len(text) > len("2006-01-02") {
		return text
	}
	return h.time(a).AddDate(0, 0, -1).Format("2006-01-02")
}

func (h *Head) date(a At) string { return h.time(a).Format("2006-01-02") }

// short writes an axis's number: 2.5M.
func short(a rating.Amount) string {
	whole, rest, point := strings.Cut(a.String(), ".")
	groups := (len(whole) - 1) / 3
	if groups == 0 || groups > 6 {
		if point {
			whole += "." + rest
		}
		return whole
	}
	head, tail := whole[:len(whole)-3*groups], strings.TrimRight(whole[len(whole)-3*groups:], "0")
	if tail != "" {
		head += "." + tail[:min(2, len(tail))]
	}
	return head + [...]string{"", "k", "M", "G", "T", "P", "E"}[groups]
}

// percent writes part of whole with one decimal; empty where there is no whole.
func percent(part, whole Number) string {
	share, ok := rating.AmountOf(1000).Share(rating.Amount(part), rating.Amount(whole))
	n, fits := share.Int64()
	if !ok || !fits {
		return ""
	}
	return rating.FormatQuantity(n, 1) + " %"
}

// about writes a mean, which is not exact anyway: whole from 100 on, and with two decimals from 1 on.
func about(n Number) string {
	a := rating.Amount(n)
	switch {
	case a.Cmp(rating.DecimalOf(100, 0)) >= 0:
		a, _ = a.RoundTo(0)
	case a.Cmp(rating.DecimalOf(1, 0)) >= 0:
		a, _ = a.RoundTo(2)
	}
	return grouped(a.String())
}

func zero(n Number) bool { return n == Number{} }

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(rating.FormatQuantity(int64(n), 0)) + " " + many
}

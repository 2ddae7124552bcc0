package rating

import "testing"

func days(units ...int64) []Amount {
	list := make([]Amount, len(units))
	for i, n := range units {
		list[i] = DecimalOf(n, 0)
	}
	return list
}

// TestSteadyUseRunsOutOnTheDay: where every day is like the others, there is no uncertainty; what is used up with the end
// of a day is used up on it.
func TestSteadyUseRunsOutOnTheDay(t *testing.T) {
	t.Parallel()
	steady := days(100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100)
	for _, test := range []struct {
		left int64
		day  int
	}{{1, 1}, {100, 1}, {101, 2}, {250, 3}, {300, 3}, {301, 4}, {100_000, 1000}} {
		f, ok := RunsOut(DecimalOf(test.left, 0), steady)
		if !ok || f.PerDay != DecimalOf(100, 0) || f.First != test.day || f.Last != test.day || int((f.After-1)/int64(day))+1 != test.day {
			t.Errorf("%d left: %+v, %v, want day %d", test.left, f, ok, test.day)
		}
	}
}

// TestUnsteadyUseIsUncertain: the more the days differ, the wider; and where they differ too much, there is no last day.
func TestUnsteadyUseIsUncertain(t *testing.T) {
	t.Parallel()
	left := DecimalOf(2000, 0)
	mild, ok1 := RunsOut(left, days(90, 110, 95, 105, 100, 90, 110, 95, 105, 100, 90, 110, 95, 105))
	wild, ok2 := RunsOut(left, days(20, 180, 40, 160, 100, 20, 180, 40, 160, 100, 20, 180, 40, 160))
	rare, ok3 := RunsOut(left, days(0, 0, 0, 0, 1400, 0, 0, 0, 0, 0, 0, 0, 0, 0))
	if !ok1 || !ok2 || !ok3 {
		t.Fatal("there is no forecast")
	}
	for _, f := range []Forecast{mild, wild, rare} {
		if mean := int((f.After-1)/int64(day)) + 1; mean != 20 || f.First > mean || f.Last != 0 && f.Last < mean {
			t.Errorf("%+v: the mean day is %d", f, mean)
		}
	}
	if mild.First <= wild.First || mild.Last >= wild.Last || rare.Last != 0 {
		t.Errorf("mild %+v, wild %+v, rare %+v", mild, wild, rare)
	}
	// By hand: k = 14, S = 1400, V = 14 x 140750 - 1400² = 10500. Missing are 14 x 2000 - 1400 n: after 19 days 1400, and
	// 13 x 1400² <= 4 x 19 x 33 x 10500; after 18, 2800, which is too much. After 22 days -2800 is outside, after 21 -1400 is not.
	if mild.First != 19 || mild.Last != 22 {
		t.Errorf("mild: %+v", mild)
	}
}

// TestNoForecast: nothing left, nothing known, nothing used, or too far away.
func TestNoForecast(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		left  int64
		daily []Amount
	}{
		"used up": {0, days(1, 1, 1)}, "one day": {5, days(1)}, "no day": {5, nil}, "idle": {5, days(0, 0, 0)},
		"ten years": {3661, days(1, 1, 1)},
	} {
		if f, ok := RunsOut(DecimalOf(test.left, 0), test.daily); ok {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

package shuffle

// sorter sorts keys by time; it is the space for it.
type sorter struct {
	spare []key
	ends  []int // of runs
}

// sort sorts keys by time. Those of a payer are nearly sorted as a rule, with a few that came late.
func (s *sorter) sort(keys []key) {
	n := len(keys)
	i := 1
	for i < n && keys[i-1].time <= keys[i].time {
		i++
	}
	if i >= n {
		return
	}
	if n <= 48 {
		insertionSort(keys, i)
		return
	}
	s.spare = resize(s.spare, n)
	late, kept, ok := takeLate(keys, i, s.spare)
	if !ok {
		s.merge(keys, s.spare)
		return
	}
	s.merge(late, s.spare[len(late):])
	mergeBack(keys, kept, late)
}

// takeLate moves keys that stand out of order, from keys[i] on, to late, so that the first kept ones ascend; false, with
// all keys still there, when that would be more than an eighth of them.
func takeLate(keys []key, i int, late []key) (taken []key, kept int, ok bool) {
	kept, n := i, 0
	most := len(keys) / 8
	for ; i < len(keys); i++ {
		k := keys[i]
		last := keys[kept-1].time
		switch {
		case k.time >= last:
			keys[kept] = k
			kept++
			continue
		case n == most:
			copy(keys[kept:i], late[:n])
			return nil, 0, false
		case kept == 1 || keys[kept-2].time <= k.time: // it is the last one that came early
			late[n] = keys[kept-1]
			keys[kept-1] = k
		default:
			late[n] = k
		}
		n++
	}
	return late[:n], kept, true
}

// mergeBack merges sorted keys[:kept] and late into keys, which is as long as both.
func mergeBack(keys []key, kept int, late []key) {
	to := len(keys) - 1
	i, j := kept-1, len(late)-1
	for j >= 0 {
		if i >= 0 && keys[i].time > late[j].time {
			keys[to] = keys[i]
			i--
		} else {
			keys[to] = late[j]
			j--
		}
		to--
	}
}

// insertionSort sorts keys of which the first n are sorted.
func insertionSort(keys []key, n int) {
	for ; n < len(keys); n++ {
		k := keys[n]
		i := n
		for ; i > 0 && keys[i-1].time > k.time; i-- {
			keys[i] = keys[i-1]
		}
		keys[i] = k
	}
}

// runLength is how long the pieces are that merge sorts by insertion when it does not find them sorted.
const runLength = 16

// merge sorts keys by merging ascending runs, as objects that overlap in time make them; spare is as long. Runs that
// are too short are made longer by insertion, so that any order takes n log n.
func (s *sorter) merge(keys, spare []key) {
	ends := s.ends[:0]
	for from := 0; from < len(keys); {
		end := from + 1
		for end < len(keys) && keys[end-1].time <= keys[end].time {
			end++
		}
		if end-from < runLength {
			sorted := end - from
			end = min(from+runLength, len(keys))
			insertionSort(keys[from:end], sorted)
		}
		ends = append(ends, end)
		from = end
	}
	s.ends = ends
	from, to := keys, spare[:len(keys)]
	for len(ends) > 1 {
		start, n := 0, 0
		for i := 0; i < len(ends); i += 2 {
			middle, end := ends[i], ends[min(i+1, len(ends)-1)]
			mergeInto(to[start:end], from[start:middle], from[middle:end])
			start, ends[n] = end, end
			n++
		}
		ends = ends[:n]
		from, to = to, from
	}
	if len(keys) > 0 && &from[0] != &keys[0] {
		copy(keys, from)
	}
}

// mergeInto merges two sorted slices into one as long as both.
func mergeInto(to, a, b []key) {
	if len(a) == 0 || len(b) == 0 || a[len(a)-1].time <= b[0].time {
		copy(to[copy(to, a):], b)
		return
	}
	i, j, n := 0, 0, 0
	for i < len(a) && j < len(b) {
		x, y := a[i], b[j]
		if y.time < x.time {
			to[n] = y
			j++
		} else {
			to[n] = x
			i++
		}
		n++
	}
	n += copy(to[n:], a[i:])
	copy(to[n:], b[j:])
}

package shuffle

import (
	"cmp"
	"slices"
)

// sortByTime sorts keys by time. Those of a payer are nearly sorted as a rule, with a few that came late; spare is space
// to be used, and grown, for it.
func sortByTime(keys []key, spare *[]key) {
	n := len(keys)
	i := 1
	for i < n && keys[i-1].time <= keys[i].time {
		i++
	}
	if i >= n {
		return
	}
	if n <= 24 {
		insertionSort(keys, i)
		return
	}
	*spare = resize(*spare, n)
	late, kept, ok := takeLate(keys, i, *spare)
	if !ok {
		mergeSort(keys, *spare)
		return
	}
	mergeSort(late, (*spare)[len(late):])
	mergeBack(keys, kept, late)
}

// takeLate moves keys that stand out of order to the front of late, from keys[i] on, so that the others ascend; false, with all
// keys still there, when that would be more than an eighth of them.
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

func mergeSort(keys, spare []key) {
	slices.SortFunc(keys, func(a, b key) int { return cmp.Compare(a.time, b.time) })
}

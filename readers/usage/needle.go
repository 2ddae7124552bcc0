package usage

import "bytes"

// needle is bytes that are looked for by that one of them which is the rarest: in JSON, quotes are everywhere.
type needle struct {
	text  []byte
	rare  int // where that one is
	tuned bool
}

func newNeedle(text string) *needle { return &needle{text: []byte(text)} }

// tune finds out what is rare, in the first text that there is.
func (n *needle) tune(sample []byte) {
	if n.tuned {
		return
	}
	n.tuned = true
	least := len(sample) + 1
	for i := range n.text {
		if found := bytes.Count(sample, n.text[i:i+1]); found < least {
			n.rare, least = i, found
		}
	}
}

// in gives where the needle is in a text, or -1.
func (n *needle) in(text []byte) int {
	behind := len(n.text) - n.rare
	for at := n.rare; at <= len(text)-behind; at++ {
		i := bytes.IndexByte(text[at:len(text)-behind+1], n.text[n.rare])
		if i < 0 {
			return -1
		}
		at += i
		if bytes.Equal(text[at-n.rare:at+behind], n.text) {
			return at - n.rare
		}
	}
	return -1
}

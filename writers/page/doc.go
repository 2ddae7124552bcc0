// Package page writes what was settled as a page to look at: one HTML file that asks for nothing else, with SVG plots that
// can be read in print, in grey, in the dark, on a phone and by a screen reader. What lives here is how figures look; where they
// come from, and which of them are worth a look, is said by whoever gathers them.
//
// The same figures give the same bytes: there is no clock, no random value and no script in a page. Names are the
// catalog's and the usage's, whoever wrote them: html/template escapes all of them, and each stands in a bdi of its own, so
// that it cannot turn around the text beside it.
package page

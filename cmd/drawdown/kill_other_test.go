//go:build !unix

package main

// childMain is the program as a child of tests; those that kill it run where there are signals.
func childMain() { main() }

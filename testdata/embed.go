// Package testdata shows in plain text what drawdown does, and embeds the part of it that `drawdown demo` settles.
//
// conformance holds cases: a world and what settling it must give. scripts drive the real program. azure-llm-trace is an
// hour of real usage, with its source and licence. What does not live here: code.
package testdata

import "embed"

// LLMTrace is the folder azure-llm-trace: real calls to two LLM services, CC BY 4.0, see its README.md.
//
//go:embed azure-llm-trace
var LLMTrace embed.FS

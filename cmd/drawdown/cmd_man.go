package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// manCmd writes the manual page.
type manCmd struct{}

// Help is the command's own help.
func (manCmd) Help() string {
	return `Everything that --help says, as a manual page:

    drawdown man | man -l -
    drawdown man > /usr/local/share/man/man1/drawdown.1`
}

func (manCmd) Run(a *app) error {
	m := &manual{a.stdout}
	model := a.model
	m.line(".TH DRAWDOWN 1 \"\" %s", manText("drawdown "+buildVersion().Version))
	m.line(".SH NAME")
	first, rest, _ := strings.Cut(model.Help, "\n")
	m.line("drawdown \\- %s", manText(strings.TrimSuffix(strings.ToLower(first[:1])+first[1:], ".")))
	m.line(".SH SYNOPSIS\n.B drawdown\n.RI [ flags ] \" command \" [ flags ]")
	m.line(".SH DESCRIPTION")
	m.text(strings.TrimSpace(rest))
	m.line(".SH FLAGS OF ALL COMMANDS")
	m.flags(model.Node)
	m.line(".SH COMMANDS")
	for _, node := range model.Leaves(true) {
		m.line(".SS %s", manText("drawdown "+node.Summary()))
		m.text(node.Help)
		m.flags(node)
		m.text(node.Detail)
	}
	m.line(".SH FILES\n.TP\n.I drawdown.yaml\nThe configuration, in the folder where drawdown is run.")
	m.line(".SH ENVIRONMENT\n.TP\n.B NO_COLOR\nWhere it is set, nothing is coloured; nor where the output is no terminal.")
	m.line(".TP\n.B DRAWDOWN_*\nEvery key of the configuration, as DRAWDOWN_SETTLEMENT_START for settlement.start.")
	return nil
}

// manual writes a page in the macros of man(7).
type manual struct{ w io.Writer }

func (m *manual) line(format string, args ...any) { fmt.Fprintf(m.w, format+"\n", args...) }

// text writes paragraphs; lines that are indented are examples, and stay as they are.
func (m *manual) text(text string) {
	for block := range strings.SplitSeq(text, "\n\n") {
		if block = strings.Trim(block, "\n"); block == "" {
			continue
		}
		if !strings.HasPrefix(block, "    ") {
			m.line(".PP\n%s", manText(block))
			continue
		}
		m.line(".PP\n.RS 4\n.nf")
		for line := range strings.SplitSeq(block, "\n") {
			m.line("%s", manText(strings.TrimPrefix(line, "    ")))
		}
		m.line(".fi\n.RE")
	}
}

func (m *manual) flags(node *kong.Node) {
	for _, flag := range node.Flags {
		name := "--" + flag.Name
		if flag.Short != 0 {
			name = "-" + string(flag.Short) + ", " + name
		}
		value := ""
		if !flag.IsBool() {
			value = "=" + flag.FormatPlaceHolder()
		}
		m.line(".TP\n.B %s\n%s", manText(name+value), manText(flag.Help))
	}
}

// manText escapes what roff would take for its own.
func manText(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// completionCmd writes what makes a shell complete commands and flags.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is the command's own help.
func (completionCmd) Help() string {
	return `Completes commands, flags, and values where there are only some. Put it where the shell looks, or read it at its start:

    source <(drawdown completion bash)     # in ~/.bashrc
    source <(drawdown completion zsh)      # in ~/.zshrc, after compinit
    drawdown completion fish > ~/.config/fish/completions/drawdown.fish`
}

func (k *completionCmd) Run(a *app) error {
	switch k.Shell {
	case "fish":
		fishCompletion(a.stdout, a.model)
	case "zsh":
		fmt.Fprintln(a.stdout, "#compdef drawdown\nautoload -U +X bashcompinit && bashcompinit")
		bashCompletion(a.stdout, a.model)
	default:
		bashCompletion(a.stdout, a.model)
	}
	return nil
}

// eachCommand visits the commands of a node, and theirs.
func eachCommand(node *kong.Node, visit func(*kong.Node)) {
	for _, child := range node.Children {
		if !child.Hidden {
			visit(child)
			eachCommand(child, visit)
		}
	}
}

func commandNames(node *kong.Node) string {
	var names []string
	for _, child := range node.Children {
		if !child.Hidden {
			names = append(names, child.Name)
		}
	}
	return strings.Join(names, " ")
}

// valuesOf are the values that a flag or an argument may have, where there are only some.
func valuesOf(v *kong.Value) string {
	if v.Enum == "" {
		return ""
	}
	return strings.Join(v.EnumSlice(), " ")
}

// bashCompletion writes a function that finds the command in what was typed, and offers what it takes. Where it has nothing to
// offer, the shell offers files.
func bashCompletion(w io.Writer, model *kong.Application) {
	var paths, below, flags, values strings.Builder
	add := func(path string, node *kong.Node) {
		var names []string
		for _, flag := range node.Flags {
			names = append(names, "--"+flag.Name)
			if list := valuesOf(flag.Value); list != "" {
				fmt.Fprintf(&values, "    %q) offer=%q ;;\n", path+" --"+flag.Name, list)
			}
		}
		fmt.Fprintf(&flags, "        %q) offer=\"$offer %s\" ;;\n", path, strings.Join(names, " "))
		list := commandNames(node)
		for _, argument := range node.Positional {
			list += valuesOf(argument)
		}
		if list != "" {
			fmt.Fprintf(&below, "        %q) offer=%q ;;\n", path, list)
		}
	}
	add("", model.Node)
	eachCommand(model.Node, func(node *kong.Node) {
		path := "/" + strings.ReplaceAll(node.Path(), " ", "/")
		fmt.Fprintf(&paths, "        %q) path=$path/$previous ;;\n", path)
		add(path, node)
	})
	fmt.Fprintf(w, `_drawdown() {
    local current=${COMP_WORDS[COMP_CWORD]} previous= path= offer= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        [ "${COMP_WORDS[i]}" = "=" ] && continue
        previous=${COMP_WORDS[i]}
        case "$path/$previous" in
%s        esac
    done
    [ "$current" = "=" ] && current=
    case "$path $previous" in
%s    *)
        case "$current" in
        -*)
        offer=%q
        case "$path" in
%s        esac
        ;;
        *)
        case "$path" in
%s        esac
        ;;
        esac
        ;;
    esac
    COMPREPLY=($(compgen -W "$offer" -- "$current"))
}
complete -o default -F _drawdown drawdown
`, paths.String(), values.String(), "--help "+flagNames(model.Node), flags.String(), below.String())
}

func flagNames(node *kong.Node) string {
	var names []string
	for _, flag := range node.Flags {
		if flag.Name != "help" {
			names = append(names, "--"+flag.Name)
		}
	}
	return strings.Join(names, " ")
}

// fishCompletion writes a line for each command and flag, with what it does.
func fishCompletion(w io.Writer, model *kong.Application) {
	quote := func(s string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
	}
	line := func(condition string, rest ...string) {
		fmt.Fprintf(w, "complete -c drawdown -n %s %s\n", quote(condition), strings.Join(rest, " "))
	}
	seen := func(node *kong.Node) string {
		return "__fish_seen_subcommand_from " + strings.ReplaceAll(node.Path(), " ", "; and __fish_seen_subcommand_from ")
	}
	flags := func(condition string, node *kong.Node) {
		for _, flag := range node.Flags {
			rest := []string{"-l", flag.Name}
			if flag.Short != 0 {
				rest = append(rest, "-s", string(flag.Short))
			}
			switch list := valuesOf(flag.Value); {
			case list != "":
				rest = append(rest, "-x", "-a", quote(list))
			case !flag.IsBool():
				rest = append(rest, "-r")
			}
			line(condition, append(rest, "-d", quote(flag.Help))...)
		}
	}
	flags("true", model.Node)
	for _, child := range model.Children {
		line("__fish_use_subcommand", "-f", "-a", child.Name, "-d", quote(child.Help))
	}
	eachCommand(model.Node, func(node *kong.Node) {
		flags(seen(node), node)
		for _, child := range node.Children {
			line(seen(node)+"; and not __fish_seen_subcommand_from "+commandNames(node), "-f", "-a", child.Name, "-d", quote(child.Help))
		}
		for _, argument := range node.Positional {
			if list := valuesOf(argument); list != "" {
				line(seen(node), "-f", "-a", quote(list))
			}
		}
	})
}

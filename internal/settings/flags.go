package settings

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// AddFlags adds the flags of some groups to a set. defaults are what the flags say they default to. What a flag is given is
// kept as text: Load reads it, so that it can tell everything that is wrong at once, where pflag stops at the first.
func AddFlags(flags *pflag.FlagSet, defaults Settings, groups ...Group) {
	for _, s := range defaults.list() {
		if !slices.Contains(groups, s.group) || s.secret {
			continue
		}
		scratch := pflag.NewFlagSet("", pflag.ContinueOnError)
		s.add(scratch, s.flagName())
		flag := scratch.Lookup(s.flagName())
		flag.Value = &unread{shown: flag.Value}
		flags.AddFlag(flag)
	}
}

// AddFileFlag adds --config, the file to read.
func AddFileFlag(flags *pflag.FlagSet) {
	flags.String("config", "", "`file` of settings, YAML or TOML (or "+EnvPrefix+"CONFIG)")
}

// unread is the value of a flag as it was given, in all its repetitions.
type unread struct {
	shown pflag.Value // the default, and the type that usage shows
	given []string
}

// Set keeps the text.
func (u *unread) Set(text string) error {
	u.given = append(u.given, text)
	return nil
}

// Type returns the type that usage shows.
func (u *unread) Type() string { return u.shown.Type() }

// String returns what was given, or the default. Of a list that is all of it, of anything else the last.
func (u *unread) String() string {
	if len(u.given) == 0 {
		return u.shown.String()
	}
	if _, ok := u.shown.(pflag.SliceValue); ok {
		return strings.Join(u.given, ",")
	}
	return u.given[len(u.given)-1]
}

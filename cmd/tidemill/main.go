// Command tidemill runs Tidemill's reference systems and helps to operate them: `tidemill help` tells all.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidemill/tidemill/apps/service"
	"github.com/tidemill/tidemill/internal/broker"
	"github.com/tidemill/tidemill/internal/settings"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/kafka"
	"github.com/tidemill/tidemill/processors"
)

// The exit codes, as `tidemill help` lists them.
const (
	exitFailure     = 1 // something went wrong that the message tells
	exitUsage       = 2 // the command line or the configuration cannot be used
	exitUnreachable = 3 // no broker answered, or none let us in
	exitRefused     = 4 // it would harm what is running or stored: in use, members, another topic
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return 0
	}
	code := exitCode(err)
	if errors.Is(err, broker.ErrLocked) && args[0] == childCommand {
		return code // its parent is told, tries again and says it once
	}
	fmt.Fprintln(os.Stderr, "tidemill: "+strings.TrimSpace(err.Error()))
	switch code {
	case exitUsage:
		fmt.Fprintln(os.Stderr, "'tidemill help' and 'tidemill <command> --help' tell what there is.")
	case exitUnreachable:
		fmt.Fprintln(os.Stderr, "--brokers (TIDEMILL_BROKERS) says where they are; 'tidemill up' and 'tidemill broker' start one, on 127.0.0.1:9092 unless told otherwise.")
	}
	return code
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

// Unwrap returns what is wrong.
func (e usageError) Unwrap() error { return e.error }

// errRefused is wrapped by what is refused because it would harm.
var errRefused = errors.New("refused")

func exitCode(err error) int {
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	for _, class := range []struct {
		code      int
		sentinels []error
	}{
		{exitUsage, []error{settings.ErrInvalid, processors.ErrConfig, service.ErrConfig}},
		{exitRefused, []error{
			errRefused, broker.ErrLocked, store.ErrLocked, processors.ErrStateInUse, processors.ErrInstanceInUse, processors.ErrTopicRecreated,
			kafka.ErrPartitionMismatch, kafka.ErrTopicConfig,
		}},
		{exitUnreachable, []error{kafka.ErrUnreachable, kafka.ErrUnauthorized}},
	} {
		for _, sentinel := range class.sentinels {
			if errors.Is(err, sentinel) {
				return class.code
			}
		}
	}
	return exitFailure
}

const rootLong = `Tidemill runs systems whose source of truth is a log.

Try it: everything in one process, with a broker of its own and its data in ./tidemill-data

  tidemill up
  curl -d '{"value": 3}' -H 'Content-Type: application/json' -X POST http://localhost:3030/values

Look at what happened

  tidemill tail calculator-events --from beginning
  tidemill lag
  tidemill topics

Against a Kafka of yours, each component in a process of its own

  tidemill calculator processor --brokers kafka1:9092,kafka2:9092

All of it listens on this machine's own loopback address unless told otherwise (--calculator-addr :3030).
Every setting is a flag, an environment variable (--calculator-addr is TIDEMILL_CALCULATOR_ADDR) and a key in a file
(--config tidemill.yaml: calculator.addr), in this order of precedence; 'tidemill config' shows what is in effect.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 no broker answers or lets us in, 4 refused because it
would harm what runs or is stored.`

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use: "tidemill", Short: "Systems whose source of truth is a log", Long: rootLong,
		SilenceUsage: true, SilenceErrors: true, Version: version(),
		Args: noArguments, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%s: %w", cmd.CommandPath(), err)}
	})
	settings.AddFileFlag(root.PersistentFlags())
	root.AddCommand(
		newUp(), newBroker(), newBrokerChild(), newCalculator(), newOrdering(), newDescribe(), newTopics(), newTail(), newLag(), newReset(), newConfig(),
	)
	refuseUnknownShells(root)
	refuseUnknownTopics(root)
	return root
}

// refuseUnknownShells has cobra's completion command say which shell it does not know.
func refuseUnknownShells(root *cobra.Command) {
	root.InitDefaultCompletionCmd("")
	for _, sub := range root.Commands() {
		if sub.Name() == "completion" {
			sub.Args = noArguments
			sub.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
}

// refuseUnknownTopics has cobra's help command say which command it does not know.
func refuseUnknownTopics(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, sub := range root.Commands() {
		if sub.Name() != "help" {
			continue
		}
		sub.Run = nil
		sub.RunE = func(_ *cobra.Command, args []string) error {
			about, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				if about == nil {
					about = root
				}
				return usageError{fmt.Errorf("there is no command %q; there are: %s", "tidemill "+strings.Join(args, " "), names(about))}
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		}
	}
}

// version is the module's, and the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	text := info.Main.Version
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" && !strings.Contains(text, setting.Value[:min(12, len(setting.Value))]) {
			text += " " + setting.Value
		}
	}
	return text + " " + info.GoVersion
}

// noArguments and oneArgument check a command's arguments.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasSubCommands() {
		return usageError{fmt.Errorf("there is no command %q; there are: %s", cmd.CommandPath()+" "+args[0], names(cmd))}
	}
	return usageError{fmt.Errorf("%s takes no arguments, and got %q", cmd.CommandPath(), args[0])}
}

func names(cmd *cobra.Command) string {
	var all []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			all = append(all, sub.Name())
		}
	}
	return strings.Join(all, ", ")
}

// oneArgument returns a check for exactly one argument.
func oneArgument(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			return nil
		}
		return usageError{fmt.Errorf("%s wants %s, and got %d arguments", cmd.CommandPath(), what, len(args))}
	}
}

// load reads the settings of a command.
func load(cmd *cobra.Command, defaults settings.Settings) (settings.Settings, error) {
	return settings.Load(cmd.Flags(), defaults)
}

// withFlags adds the flags of some groups of settings to a command.
func withFlags(cmd *cobra.Command, defaults settings.Settings, groups ...settings.Group) *cobra.Command {
	cmd.Flags().SortFlags = false
	settings.AddFlags(cmd.Flags(), defaults, groups...)
	return cmd
}

func newConfig() *cobra.Command {
	defaults := settings.Default()
	cmd := &cobra.Command{
		Use: "config", Short: "Show the settings in effect", Args: noArguments,
		Long: `Shows every setting with its value in effect, what it is for and the name of its environment variable, as YAML that
--config takes. Secrets are masked.`,
		Example: "  tidemill config > tidemill.yaml\n  TIDEMILL_CALCULATOR_ADDR=:8080 tidemill config",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := load(cmd, defaults)
			if err != nil {
				return err
			}
			fmt.Fprint(cmd.OutOrStdout(), s.YAML())
			return nil
		},
	}
	return withFlags(cmd, defaults, settings.GroupData, settings.GroupKafka, settings.GroupBroker, settings.GroupTopics, settings.GroupProcessor,
		settings.GroupCalculator, settings.GroupView, settings.GroupRemote, settings.GroupCommand, settings.GroupQuery, settings.GroupPage, settings.GroupServices,
		settings.GroupAuth, settings.GroupAdmin, settings.GroupLog)
}

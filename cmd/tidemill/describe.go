package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidemill/tidemill/apps/calculator"
	"github.com/tidemill/tidemill/apps/ordering"
	"github.com/tidemill/tidemill/topology"
)

// applications are the built-in ones, by name.
var applications = map[string]func() (*topology.Topology, error){
	"calculator": func() (*topology.Topology, error) {
		t, _, err := calculator.Topology()
		return t, err
	},
	"calculator-history": func() (*topology.Topology, error) {
		t, _, err := calculator.HistoryTopology()
		return t, err
	},
	"ordering": func() (*topology.Topology, error) {
		t, _, err := ordering.Topology()
		return t, err
	},
	"ordering-query": func() (*topology.Topology, error) { return ordering.QueryTopology(ordering.DefaultThresholds()) },
}

// application returns a built-in application.
func application(name string) (*topology.Topology, error) {
	build, ok := applications[name]
	if thresholds, with := thresholdsOf(name); with {
		return ordering.QueryTopology(thresholds)
	}
	if !ok {
		return nil, usageError{fmt.Errorf("there is no application %q; there are: %s", name, strings.Join(slices.Sorted(maps.Keys(applications)), ", "))}
	}
	return build()
}

// thresholdsOf returns the thresholds of an application such as ordering-query-500-5000.
func thresholdsOf(name string) (ordering.Thresholds, bool) {
	var from, to int64
	if n, err := fmt.Sscanf(name, "ordering-query-%d-%d", &from, &to); n != 2 || err != nil {
		return ordering.Thresholds{}, false
	}
	thresholds := ordering.Thresholds{From: ordering.Money(from), To: ordering.Money(to)}
	return thresholds, thresholds.Application() == name
}

// completeApplications completes an application's name.
func completeApplications(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.Sorted(maps.Keys(applications)), cobra.ShellCompDirectiveNoFileComp
}

// descriptions are the formats of describe.
var descriptions = map[string]func(*topology.Topology) string{
	"text":    (*topology.Topology).Describe,
	"dot":     (*topology.Topology).DOT,
	"mermaid": (*topology.Topology).Mermaid,
	"json":    (*topology.Topology).JSON,
}

func newDescribe() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "describe APPLICATION", Short: "Show the topology of a built-in application", Args: oneArgument("the name of an application"),
		Long:              "Shows the operators, topics and stores of a built-in application. It asks no broker.",
		Example:           "  tidemill describe calculator\n  tidemill describe calculator --format dot | dot -Tsvg > calculator.svg",
		ValidArgsFunction: completeApplications,
		RunE: func(cmd *cobra.Command, args []string) error {
			describe, ok := descriptions[format]
			if !ok {
				return usageError{fmt.Errorf("there is no format %q; there are: %s", format, strings.Join(slices.Sorted(maps.Keys(descriptions)), ", "))}
			}
			t, err := application(args[0])
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), strings.TrimSuffix(describe(t), "\n"))
			return nil
		},
	}
	cmd.Flags().StringVarP(&format, "format", "o", "text", "text, dot, mermaid or json")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(slices.Sorted(maps.Keys(descriptions)), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/settings"
	"github.com/tidemill/tidemill/processors"
	"github.com/tidemill/tidemill/topology"
)

// withAdmin runs a function with a connection to the brokers.
func withAdmin(s settings.Settings, do func(*log.Admin) error) error {
	admin, err := log.NewAdmin(s.Kafka)
	if err != nil {
		return err
	}
	defer admin.Close()
	return do(admin)
}

func newTopics() *cobra.Command {
	defaults := settings.Default()
	cmd := &cobra.Command{
		Use: "topics", Short: "List, make and check topics", Args: noArguments,
		Long:    "Lists all topics with their partitions, how long records are kept and how many offsets they hold.",
		Example: "  tidemill topics --brokers kafka:9092\n  tidemill topics create calculator --topics-partitions 12\n  tidemill topics check calculator",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := load(cmd, defaults)
			if err != nil {
				return err
			}
			return withAdmin(s, func(admin *log.Admin) error { return listTopics(cmd.Context(), admin, cmd.OutOrStdout()) })
		},
	}
	create := &cobra.Command{
		Use: "create APPLICATION", Short: "Make the topics that an application misses, and check the others",
		Args: oneArgument("the name of an application"), ValidArgsFunction: completeApplications,
		Example: "  tidemill topics create calculator --brokers kafka:9092 --topics-partitions 12 --topics-replication 3",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, t, err := loadApplication(cmd, defaults, args[0])
			if err != nil {
				return err
			}
			config := s.ProcessorConfig()
			config.StateDir = s.Data
			if err := processors.EnsureTopics(cmd.Context(), t, config); err != nil {
				return err
			}
			return withAdmin(s, func(admin *log.Admin) error { return checkTopics(cmd.Context(), admin, t, cmd.OutOrStdout()) })
		},
	}
	check := &cobra.Command{
		Use: "check APPLICATION", Short: "Say which topics of an application are missing or wrong",
		Args: oneArgument("the name of an application"), ValidArgsFunction: completeApplications,
		Example: "  tidemill topics check calculator --brokers kafka:9092",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, t, err := loadApplication(cmd, defaults, args[0])
			if err != nil {
				return err
			}
			return withAdmin(s, func(admin *log.Admin) error { return checkTopics(cmd.Context(), admin, t, cmd.OutOrStdout()) })
		},
	}
	cmd.AddCommand(
		withFlags(create, defaults, settings.GroupKafka, settings.GroupTopics),
		withFlags(check, defaults, settings.GroupKafka),
	)
	return withFlags(cmd, defaults, settings.GroupKafka)
}

func loadApplication(cmd *cobra.Command, defaults settings.Settings, name string) (settings.Settings, *topology.Topology, error) {
	s, err := load(cmd, defaults)
	if err != nil {
		return s, nil, err
	}
	t, err := application(name)
	return s, t, err
}

func listTopics(ctx context.Context, admin *log.Admin, out io.Writer) error {
	names, err := admin.Topics(ctx)
	if err != nil {
		return err
	}
	starts, err := admin.StartOffsets(ctx, names...)
	if err != nil {
		return err
	}
	ends, err := admin.EndOffsets(ctx, names...)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TOPIC\tPARTITIONS\tREPLICAS\tCLEANUP\tKEPT\tOFFSETS")
	for _, name := range names {
		topic, err := admin.Describe(ctx, name)
		if err != nil {
			return err
		}
		held := int64(0)
		for partition, end := range ends[name] {
			held += end - starts[name][partition]
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%s\t%s\t%d\n", name, topic.Partitions, topic.Replication, topic.Config["cleanup.policy"], kept(topic), held)
	}
	return table.Flush()
}

// kept says how long a topic's records are kept.
func kept(topic log.Topic) string {
	milliseconds, err := strconv.ParseInt(topic.Config["retention.ms"], 10, 64)
	switch {
	case topic.Config["cleanup.policy"] == "compact":
		return "latest of each key"
	case err != nil:
		return "?"
	case milliseconds < 0:
		return "forever"
	}
	return (time.Duration(milliseconds) * time.Millisecond).String()
}

// expectedTopics returns what the topics of an application must be, as far as the topology says.
func expectedTopics(t *topology.Topology) []log.TopicSpec {
	g := t.Graph()
	var specs []log.TopicSpec
	seen := map[string]bool{}
	add := func(name string, partitions int32, config map[string]string) {
		if !seen[name] {
			seen[name] = true
			specs = append(specs, log.TopicSpec{Name: name, Partitions: partitions, Config: config})
		}
	}
	for _, node := range g.Nodes {
		if node.Topic == nil || node.Dynamic || node.Kind != graph.Source && node.Kind != graph.Sink {
			continue
		}
		config := map[string]string{}
		if node.Topic.Retention < 0 || node.Topic.Internal {
			config["retention.ms"] = "-1"
		}
		add(node.Topic.Name, node.Topic.Partitions, config)
	}
	for _, sub := range g.SubTopologies {
		for _, store := range sub.Stores {
			if store.Changelog != "" {
				add(store.Changelog, 0, map[string]string{"cleanup.policy": "compact"})
				specs[len(specs)-1].Source, specs[len(specs)-1].Application = sub.Sources[0].Topic.Name, g.Application
			}
		}
	}
	add(g.DeadLetterTopic(), 0, map[string]string{"retention.ms": "-1"})
	return specs
}

// checkTopics prints a line for each topic and returns everything that is wrong.
func checkTopics(ctx context.Context, admin *log.Admin, t *topology.Topology, out io.Writer) error {
	var errs []error
	partitions := map[string]int32{} // of those that exist; sources come before changelogs
	for _, spec := range expectedTopics(t) {
		if spec.Source != "" {
			spec.Partitions = partitions[spec.Source] // as at the start of a processor; any number where it is missing
		}
		topic, err := admin.CheckTopic(ctx, spec)
		partitions[spec.Name] = topic.Partitions
		if err != nil {
			fmt.Fprintf(out, "wrong  %s\n", spec.Name)
			if errors.Is(err, log.ErrTopicMissing) {
				err = fmt.Errorf("%w: make it with 'tidemill topics create %s'", err, t.Application())
			}
			errs = append(errs, err)
			continue
		}
		fmt.Fprintf(out, "good   %s (%d partitions)\n", topic.Name, topic.Partitions)
	}
	return errors.Join(errs...)
}

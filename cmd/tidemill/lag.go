package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/settings"
	"github.com/tidemill/tidemill/topology"
)

func newLag() *cobra.Command {
	defaults := settings.Default()
	cmd := &cobra.Command{
		Use: "lag [APPLICATION | GROUP ...]", Short: "Show how far processors are behind",
		Long: `Shows, for each partition that a group reads: the committed offset, the end, the difference, and what the commit says of the
task: the sequence number of its commits and its stream time. Without arguments it shows the built-in applications.

The end counts transaction markers, so that a group that is level can show a lag of 0 or 1 where the source is written in
transactions.`,
		Example: "  tidemill lag\n  tidemill lag calculator --brokers kafka:9092\n  tidemill lag some-other-group",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := load(cmd, defaults)
			if err != nil {
				return err
			}
			groups, err := groupsOf(args)
			if err != nil {
				return err
			}
			return withAdmin(s, func(admin *log.Admin) error { return showLag(cmd.Context(), admin, groups, cmd.OutOrStdout()) })
		},
	}
	return withFlags(cmd, defaults, settings.GroupKafka)
}

// group is a consumer group and the topics that it is known to read; none where it is not one of ours.
type group struct {
	name   string
	topics []string
}

// groupsOf returns the groups of applications, and others as they are named.
func groupsOf(names []string) ([]group, error) {
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(applications))
	}
	var groups []group
	for _, name := range names {
		_, known := applications[name]
		if _, with := thresholdsOf(name); !known && !with {
			groups = append(groups, group{name: name})
			continue
		}
		t, err := application(name)
		if err != nil {
			return nil, err
		}
		groups = append(groups, applicationGroups(t)...)
	}
	return groups, nil
}

func applicationGroups(t *topology.Topology) []group {
	var groups []group
	for _, sub := range t.Graph().SubTopologies {
		groups = append(groups, group{name: sub.Group, topics: sub.SourceTopics()})
	}
	return groups
}

func showLag(ctx context.Context, admin *log.Admin, groups []group, out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "GROUP\tSTATE\tTOPIC\tPARTITION\tCOMMITTED\tEND\tLAG\tCOMMITS\tSTREAM TIME")
	for _, g := range groups {
		state, _, err := admin.GroupMembers(ctx, g.name)
		if err != nil {
			return err
		}
		committed, err := admin.CommittedOffsets(ctx, g.name, false)
		if err != nil {
			return err
		}
		topics := g.topics
		if len(topics) == 0 {
			topics = slices.Sorted(maps.Keys(committed))
		}
		if len(topics) == 0 && state == "Dead" {
			return usageError{fmt.Errorf("there is no consumer group %q; applications are %s", g.name, strings.Join(slices.Sorted(maps.Keys(applications)), ", "))}
		}
		if len(topics) == 0 {
			fmt.Fprintf(table, "%s\t%s\t-\t-\t-\t-\t-\t-\t-\n", g.name, state)
			continue
		}
		ends, err := admin.StableOffsets(ctx, topics...)
		if err != nil {
			return err
		}
		for _, topic := range topics {
			for _, partition := range slices.Sorted(maps.Keys(ends[topic])) {
				position, known := committed[topic][partition]
				fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\n", g.name, state, topic, partition, lagColumns(position, known, ends[topic][partition]))
			}
		}
	}
	return table.Flush()
}

// lagColumns returns committed, end, lag, commits and stream time.
func lagColumns(position log.Position, known bool, end int64) string {
	if !known {
		return fmt.Sprintf("-\t%d\t%d\t-\t-", end, end)
	}
	commits, streamTime := "-", "-"
	if task, err := meta.ParseOffset(position.Metadata); err == nil && task != (meta.Offset{}) {
		commits = strconv.FormatUint(task.Sequence, 10)
		streamTime = time.UnixMilli(task.StreamTime).UTC().Format("2006-01-02T15:04:05.000Z")
	}
	return fmt.Sprintf("%d\t%d\t%d\t%s\t%s", position.Offset, end, max(0, end-position.Offset), commits, streamTime)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/spf13/cobra"

	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/settings"
	"github.com/tidemill/tidemill/topology"
)

// memberPoll is how often a group is looked at while its members are waited for.
const memberPoll = 250 * time.Millisecond

// resetOptions are the flags of reset.
type resetOptions struct {
	yes, outputs, embedded bool
	wait                   time.Duration
}

func newReset() *cobra.Command {
	defaults := settings.Default()
	var o resetOptions
	cmd := &cobra.Command{
		Use: "reset APPLICATION", Short: "Forget what a processor has done, so that it begins anew (dry run without --yes)",
		Args: oneArgument("the name of an application"), ValidArgsFunction: completeApplications,
		Long: `Deletes the offsets of an application's groups, its changelogs and repartition topics, and its local state in the data
directory. Its source topics stay: at the next start everything in them is processed again, from the beginning.

What it has written before stays too, so that each event is written a second time, under the same id and with the same
body: who reads them and does not look at ids, as calculator-history does, has everything twice. --outputs deletes the topics it writes (events, rejections, dead letters) as well, so that they come out as they were,
and forgets what the applications that read those topics have made of them: calculator-history, ordering's query applications.

Without --yes it only says what it would do. It refuses while a group has members: stop all processors first. A processor
that has ended stays a member until its session time-out (10 s, unless configured otherwise): --wait waits for that.`,
		Example: `  tidemill reset calculator --brokers kafka:9092
  tidemill reset calculator --brokers kafka:9092 --outputs --wait 30s --yes
  tidemill reset ordering-query --brokers kafka:9092 --yes
  tidemill reset calculator --embedded --data ./tidemill-data --yes      after 'tidemill up' has ended`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, t, err := loadApplication(cmd, defaults, args[0])
			if err != nil {
				return err
			}
			return reset(cmd.Context(), s, t, o, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.yes, "yes", false, "do it")
	flags.BoolVar(&o.outputs, "outputs", false, "delete the topics that the application writes as well, and what others have made of them")
	flags.BoolVar(&o.embedded, "embedded", false, "start the embedded broker on the data directory for this")
	flags.DurationVar(&o.wait, "wait", 0, "how long to wait until the groups have no members")
	return withFlags(cmd, defaults, settings.GroupKafka, settings.GroupData, settings.GroupBroker)
}

func reset(ctx context.Context, s settings.Settings, t *topology.Topology, o resetOptions, out io.Writer) (err error) {
	if o.embedded {
		logger := s.Log.Logger()
		node, err := startEmbedded(ctx, brokerOptions(s), logger)
		if err != nil {
			return err
		}
		s.Kafka.Brokers = []string{node.addr()}
		close(node.ended) // nobody supervises it
		defer func() {
			if stopErr := node.stop(); stopErr != nil {
				logger.Error("stopping the broker", "error", stopErr)
			}
		}()
	}
	return withAdmin(s, func(admin *log.Admin) error {
		plan, err := planReset(ctx, admin, s, t, o)
		if err != nil {
			return err
		}
		if !o.yes {
			plan.print(out, "would delete")
			plan.warn(out)
			fmt.Fprintln(out, "\nNothing was done. Add --yes to do it.")
			return plan.free(ctx, admin, 0)
		}
		if err := plan.free(ctx, admin, o.wait); err != nil {
			return err
		}
		if err := plan.carryOut(ctx, admin); err != nil {
			return err
		}
		plan.print(out, "deleted")
		plan.warn(out)
		return nil
	})
}

// resetPlan is what there is to delete.
type resetPlan struct {
	groups []string // with offsets
	topics []string // that exist
	state  []string // directories that exist
	stay   []string // topics with what the application has written, which it will write again
	doubly []string // applications that read those
}

func planReset(ctx context.Context, admin *log.Admin, s settings.Settings, t *topology.Topology, o resetOptions) (resetPlan, error) {
	var plan resetPlan
	existing, err := admin.Topics(ctx)
	if err != nil {
		return plan, err
	}
	all := []*topology.Topology{t}
	if o.outputs {
		following, err := followers(t, existing)
		if err != nil {
			return plan, err
		}
		all = append(all, following...)
	}
	there := map[string]bool{}
	for _, name := range existing {
		there[name] = true
	}
	for i, t := range all {
		for _, name := range topicsToReset(t, o.outputs && i == 0) {
			if there[name] {
				plan.topics = append(plan.topics, name)
				there[name] = false
			}
		}
		if err := plan.add(ctx, admin, t, s.Data); err != nil {
			return plan, err
		}
	}
	if o.outputs {
		return plan, nil
	}
	return plan, plan.keep(t, existing)
}

// keep notes what stays of what the application has written, and who reads it.
func (p *resetPlan) keep(t *topology.Topology, existing []string) error {
	own := topicsToReset(t, false)
	for _, name := range topicsToReset(t, true) {
		if slices.Contains(existing, name) && !slices.Contains(own, name) && !slices.Contains(p.stay, name) {
			p.stay = append(p.stay, name)
		}
	}
	if len(p.stay) == 0 {
		return nil
	}
	following, err := followers(t, existing)
	for _, other := range following {
		p.doubly = append(p.doubly, other.Application())
	}
	return err
}

// warn says what comes of it that outputs stay.
func (p resetPlan) warn(out io.Writer) {
	if len(p.stay) == 0 {
		return
	}
	fmt.Fprintf(out, "\nWARNING: %s stay: at the next start everything is written to them a second time, under the same ids.\n", strings.Join(p.stay, ", "))
	if len(p.doubly) > 0 {
		fmt.Fprintf(out, "Applications that read them get everything twice: %s.\n", strings.Join(p.doubly, ", "))
	}
	fmt.Fprintln(out, "With --outputs they are deleted as well, and come out as they were.")
}

// add adds an application's groups and its local state.
func (p *resetPlan) add(ctx context.Context, admin *log.Admin, t *topology.Topology, data string) error {
	for _, g := range applicationGroups(t) {
		committed, err := admin.CommittedOffsets(ctx, g.name, false)
		if err != nil {
			return err
		}
		state, _, err := admin.GroupMembers(ctx, g.name)
		if err != nil {
			return err
		}
		if len(committed) > 0 || state != "Dead" {
			p.groups = append(p.groups, g.name)
		}
	}
	dir := filepath.Join(data, "processors", t.Application())
	if _, err := os.Stat(dir); err == nil {
		p.state = append(p.state, dir)
	}
	return nil
}

// followers returns the other applications that read what an application writes: built-in ones, and query applications with
// other thresholds of which there are topics. Made of topics that are gone, their state would stand for nothing.
func followers(t *topology.Topology, existing []string) ([]*topology.Topology, error) {
	written := map[string]bool{}
	for _, name := range topicsToReset(t, true) {
		written[name] = true
	}
	names := slices.Collect(maps.Keys(applications))
	for _, topic := range existing {
		if name, ok := strings.CutSuffix(topic, "-by-time-changelog"); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	seen := map[string]bool{t.Application(): true}
	var all []*topology.Topology
	for _, name := range names {
		_, known := applications[name]
		if _, with := thresholdsOf(name); !known && !with {
			continue
		}
		other, err := application(name)
		if err != nil {
			return nil, err
		}
		reads := slices.ContainsFunc(other.Graph().SubTopologies, func(sub *graph.SubTopology) bool {
			return slices.ContainsFunc(sub.SourceTopics(), func(topic string) bool { return written[topic] })
		})
		if reads && !seen[other.Application()] {
			seen[other.Application()] = true
			all = append(all, other)
		}
	}
	return all, nil
}

// topicsToReset returns the topics that belong to the application alone, and those it writes if outputs go too.
func topicsToReset(t *topology.Topology, outputs bool) []string {
	var names []string
	sources := map[string]bool{}
	for _, node := range t.Graph().Nodes {
		if node.Kind == graph.Source {
			sources[node.Topic.Name] = !node.Topic.Internal
		}
	}
	for _, sub := range t.Graph().SubTopologies {
		for _, store := range sub.Stores {
			if store.Changelog != "" && !sources[store.Changelog] {
				names = append(names, store.Changelog)
			}
		}
	}
	for _, node := range t.Graph().Nodes {
		if node.Topic == nil || node.Dynamic || sources[node.Topic.Name] {
			continue
		}
		if node.Topic.Internal || outputs && node.Kind == graph.Sink {
			names = append(names, node.Topic.Name)
		}
	}
	if outputs {
		names = append(names, t.Graph().DeadLetterTopic())
	}
	return names
}

func (p resetPlan) print(out io.Writer, doing string) {
	if len(p.groups)+len(p.topics)+len(p.state) == 0 {
		fmt.Fprintln(out, "There is nothing to delete.")
	}
	for _, group := range p.groups {
		fmt.Fprintf(out, "%s the offsets of group %s\n", doing, group)
	}
	for _, topic := range p.topics {
		fmt.Fprintf(out, "%s topic %s\n", doing, topic)
	}
	for _, dir := range p.state {
		fmt.Fprintf(out, "%s local state %s\n", doing, dir)
	}
}

// free checks that nobody uses what is to be deleted, waiting as long as asked.
func (p resetPlan) free(ctx context.Context, admin *log.Admin, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	for {
		busy, err := p.busy(ctx, admin)
		if err != nil || busy == nil || time.Now().After(deadline) {
			return errors.Join(err, busy)
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), busy)
		case <-time.After(memberPoll):
		}
	}
}

// busy says who uses what is to be deleted, nil if nobody does.
func (p resetPlan) busy(ctx context.Context, admin *log.Admin) (busy, err error) {
	var who []error
	for _, group := range p.groups {
		state, members, err := admin.GroupMembers(ctx, group)
		if err != nil {
			return nil, err
		}
		for _, member := range members {
			who = append(who, fmt.Errorf("%w: group %s (%s) has member %s at %s: stop that processor; if it has just ended, it counts until its session time-out: add --wait 30s",
				errRefused, group, state, member.InstanceID, member.Host))
		}
	}
	for _, dir := range p.state {
		lock := flock.New(filepath.Join(dir, "LOCK"))
		held, err := lock.TryLock()
		if err != nil {
			return nil, fmt.Errorf("locking %s: %w", dir, err)
		}
		if !held {
			who = append(who, fmt.Errorf("%w: a process uses the local state in %s: stop it", errRefused, dir))
			continue
		}
		if err := lock.Unlock(); err != nil {
			return nil, fmt.Errorf("unlocking %s: %w", dir, err)
		}
	}
	return errors.Join(who...), nil
}

// carryOut deletes offsets first: with them gone and the rest still there, a processor that starts refuses, and a second
// reset finishes the work.
func (p resetPlan) carryOut(ctx context.Context, admin *log.Admin) error {
	for _, group := range p.groups {
		if err := admin.DeleteGroup(ctx, group); err != nil {
			return err
		}
	}
	if len(p.topics) > 0 {
		if err := admin.DeleteTopics(ctx, p.topics...); err != nil {
			return err
		}
	}
	for _, dir := range p.state {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("deleting local state: %w", err)
		}
	}
	return nil
}

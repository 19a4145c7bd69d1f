// Command bench measures Tidemill against its peers on the same real Kafka: Kafka Streams and plain goka run the same
// calculator over the same commands. It prints a table with a goal for every row and writes it to bench/results, as
// Markdown and as JSON with every single run.
//
//	go run ./bench                                  # the main table: make bench
//	go run ./bench -preset quick                    # under three minutes, small numbers
//	go run ./bench -work latency -contenders tidemill,streams -rounds 1 -out bench/results/mine
//	go run ./bench -out bench/results/mine -summary # the table of what is there, nothing run
//
// Runs are interleaved: each round runs every contender once, in an order that turns. Where -out names a file that exists,
// further rounds are added to it, so that a long measurement can be made in pieces. The table has medians.
//
// How to read it, where the time goes, and what is not fair: docs/bench/README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options of one invocation.
type options struct {
	preset
	presetName string
	out        string
	summary    bool
	keep       bool
	profile    bool
	plots      string
	readme     string
}

func main() {
	if spec := os.Getenv(childVariable); spec != "" {
		exit(runChild(spec))
	}
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = run(ctx, o)
	}
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.presetName, "preset", "main", "what to run: "+strings.Join(presetNames(), ", "))
	flags.StringVar(&o.out, "out", "", "the results, without extension (default bench/results/<time>-<preset>); what is there is kept and added to")
	flags.BoolVar(&o.summary, "summary", false, "run nothing: print and write the table of -out")
	flags.BoolVar(&o.keep, "keep", false, "keep the broker's and the contenders' files, and say where they are")
	flags.BoolVar(&o.profile, "profile", false, "write CPU profiles of Tidemill's processes beside the results")
	flags.StringVar(&o.plots, "plots", "", "draw the curves that the results have into this directory")
	flags.StringVar(&o.readme, "readme", "", "put the table of the goals into this Markdown file, between its lines "+tableBegin+" and "+tableEnd)
	works := flags.String("work", "", "only these, by comma: "+strings.Join(workNames(), ", "))
	contenders := flags.String("contenders", "", "only these, by comma: "+strings.Join(contenderNames(), ", "))
	flags.Func("points", "only these points of the curves, by comma, e.g. 1000000", func(text string) error {
		for part := range strings.SplitSeq(text, ",") {
			n, err := strconv.Atoi(part)
			if err != nil {
				return err
			}
			o.at = append(o.at, n)
		}
		return nil
	})
	rounds := flags.Int("rounds", 0, "how many rounds (default: the preset's)")
	commands := flags.Int("commands", 0, "commands of the throughput (default: the preset's)")
	large := flags.Int("large", 0, "keys of the large state, and most keys of the curve over keys (default: the preset's)")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	var known bool
	at := o.at
	if o.preset, known = presets[o.presetName]; !known {
		return o, fmt.Errorf("unknown preset %q; there are %s", o.presetName, strings.Join(presetNames(), ", "))
	}
	if *works != "" {
		o.works = strings.Split(*works, ",")
	}
	if *contenders != "" {
		o.only = strings.Split(*contenders, ",")
	}
	for _, name := range o.works {
		if !slices.Contains(workNames(), name) {
			return o, fmt.Errorf("unknown work %q; there are %s", name, strings.Join(workNames(), ", "))
		}
	}
	for _, name := range o.only {
		if !slices.Contains(contenderNames(), name) {
			return o, fmt.Errorf("unknown contender %q; there are %s", name, strings.Join(contenderNames(), ", "))
		}
	}
	o.at = at
	if *rounds > 0 {
		o.rounds = *rounds
	}
	if *commands > 0 {
		o.commands = *commands
	}
	o.most = min(o.largeKeys, 1_000_000)
	if *large > 0 {
		o.largeKeys = *large
		o.most = *large
	}
	if o.summary && o.out == "" {
		return o, errors.New("-summary needs -out: which results?")
	}
	if o.out == "" {
		o.out = filepath.Join("bench", "results", resultsName(time.Now(), output("uname", "-sr"), runtime.NumCPU(), o.presetName))
	}
	return o, nil
}

func run(ctx context.Context, o options) error {
	results, err := loadResults(o.out)
	if err != nil {
		return err
	}
	began := time.Now()
	if !o.summary {
		err = measure(ctx, o, results)
	}
	if len(results.Runs) == 0 {
		return err
	}
	table := results.markdown()
	fmt.Println()
	fmt.Print(table)
	if err := os.WriteFile(o.out+".md", []byte(table), 0o644); err != nil {
		return err
	}
	if o.plots != "" {
		if err := results.plots(o.plots); err != nil {
			return err
		}
	}
	if o.readme != "" {
		if err := results.intoReadme(o.readme, o.out); err != nil {
			return err
		}
	}
	fmt.Fprintf(os.Stderr, "\nresults: %s.json and %s.md, after %s\n", o.out, o.out, time.Since(began).Round(time.Second))
	return err
}

// measure runs the rounds and saves after each run, so that an interrupted measurement is not lost.
func measure(ctx context.Context, o options, results *results) error {
	if err := results.comparable(o.preset); err != nil {
		return err
	}
	s, err := newSession(ctx, o)
	if err != nil {
		return err
	}
	defer s.close()
	results.describe(s)
	s.planned = o.count()
	var failed []error
	for round := range o.rounds {
		for _, name := range o.works {
			if works[name].single && round < o.rounds-1 {
				continue // the last round has it
			}
			for _, c := range turned(o.contendersOf(works[name]), round) {
				for _, point := range works[name].pointsOf(o.preset) {
					err := s.record(ctx, results, name, c, point)
					if ctx.Err() != nil {
						return ctx.Err()
					}
					if err != nil { // the others are worth measuring all the same
						failed = append(failed, fmt.Errorf("%s, %s: %w", works[name].title, c.title, err))
						s.say("    failed: %v", err)
					}
				}
			}
		}
	}
	return errors.Join(failed...)
}

// record measures one run, says and saves it.
func (s *session) record(ctx context.Context, results *results, name string, c contender, point int) error {
	w := works[name]
	s.round = results.round(name, c.name, point)
	s.begun++
	if s.round > 0 && slices.Contains(w.once, c.name) {
		return nil
	}
	title := w.title
	if w.points != nil {
		title += " " + grouped(point)
	}
	s.say("%d of %d, round %d: %s, %s", s.begun, s.planned, s.round+1, title, c.title)
	values, err := s.measure(ctx, w, c, point)
	if err != nil {
		return err
	}
	s.say("    %s", shown(values))
	results.add(name, c.name, s.round, point, values)
	return results.save(s.out)
}

// count is how many runs there will be.
func (o options) count() (n int) {
	for _, name := range o.works {
		rounds := o.rounds
		if works[name].single {
			rounds = 1
		}
		n += rounds * len(o.contendersOf(works[name])) * len(works[name].pointsOf(o.preset))
	}
	return n
}

// turned begins the list elsewhere in each round.
func turned(list []contender, round int) []contender {
	if len(list) == 0 {
		return nil
	}
	at := round % len(list)
	return append(slices.Clone(list[at:]), list[:at]...)
}

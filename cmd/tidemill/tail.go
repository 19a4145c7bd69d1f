package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/settings"
)

// tailOptions are the flags of tail.
type tailOptions struct {
	from, since string
	follow      bool
	uncommitted bool
	limit       int
	format      string
	partition   int32
}

func newTail() *cobra.Command {
	defaults := settings.Default()
	var o tailOptions
	cmd := &cobra.Command{
		Use: "tail TOPIC", Short: "Show the records of a topic, decoded", Args: oneArgument("the name of a topic"),
		Long: `Shows records with their key, headers and body, those of committed transactions only. Without --from and --since it follows
the topic from its end; with one of them it shows what is there and stops, unless --follow is given too.`,
		Example: `  tidemill tail calculator-events
  tidemill tail calculator-commands --from beginning --limit 10
  tidemill tail calculator-events --partition 2 --from 4200 --follow
  tidemill tail calculator-rejections --since 15m
  tidemill tail calculator-dead-letters --since 2026-11-21T08:00:00Z --format json | jq .value`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := load(cmd, defaults)
			if err != nil {
				return err
			}
			ctx, cancel := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer cancel()
			return tail(ctx, s, args[0], o, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.from, "from", "", "`offset` to begin with in each partition, or beginning or end")
	flags.StringVar(&o.since, "since", "", "`time` to begin with: a duration ago (15m) or RFC 3339 (2026-11-21T08:00:00Z)")
	flags.BoolVarP(&o.follow, "follow", "f", false, "go on with what comes")
	flags.Int32VarP(&o.partition, "partition", "p", -1, "only this `number`")
	flags.IntVarP(&o.limit, "limit", "n", 0, "stop after so many records")
	flags.BoolVar(&o.uncommitted, "uncommitted", false, "show records of open and aborted transactions too")
	flags.StringVarP(&o.format, "format", "o", "text", "text, or json (one object a line)")
	return withFlags(cmd, defaults, settings.GroupKafka)
}

// beginning returns where to begin in each partition, and the ends to stop at, nil when following.
func (o tailOptions) beginning(ctx context.Context, admin *log.Admin, topic string) (from, to map[int32]int64, err error) {
	switch {
	case o.from != "" && o.since != "":
		return nil, nil, usageError{errors.New("tail: --from and --since exclude each other")}
	case o.limit < 0:
		return nil, nil, usageError{fmt.Errorf("tail: --limit %d; want how many records to show, from the first on (0 for all)", o.limit)}
	}
	starts, err := admin.StartOffsets(ctx, topic)
	if errors.Is(err, log.ErrTopicMissing) {
		return nil, nil, fmt.Errorf("tail: there is no topic %q; 'tidemill topics' lists those that there are: %w", topic, err)
	}
	if err != nil {
		return nil, nil, err
	}
	ends := admin.StableOffsets
	if o.uncommitted {
		ends = admin.EndOffsets
	}
	end, err := ends(ctx, topic)
	if err != nil {
		return nil, nil, err
	}
	from, to = starts[topic], end[topic]
	switch {
	case o.since != "":
		at, err := sinceTime(o.since, time.Now())
		if err != nil {
			return nil, nil, err
		}
		found, err := admin.OffsetsAt(ctx, at, topic)
		if err != nil {
			return nil, nil, err
		}
		from = found[topic]
	case o.from == "" || o.from == "end":
		from, to = end[topic], nil
	case o.from != "beginning":
		offset, err := strconv.ParseInt(o.from, 10, 64)
		if err != nil || offset < 0 {
			return nil, nil, usageError{fmt.Errorf("tail: --from %q is neither an offset nor beginning nor end", o.from)}
		}
		if err := o.within(offset, topic, to); err != nil {
			return nil, nil, err
		}
		for partition, start := range from {
			from[partition] = max(start, offset)
		}
	}
	if o.partition >= 0 {
		if _, ok := from[o.partition]; !ok {
			return nil, nil, usageError{fmt.Errorf("tail: topic %s has partitions 0 to %d, not %d", topic, len(from)-1, o.partition)}
		}
		from = map[int32]int64{o.partition: from[o.partition]}
	}
	if o.follow {
		to = nil
	}
	return from, to, nil
}

// within returns an error if an offset lies beyond the end of every partition that is to be shown: there is nothing from there
// on, and nobody should wait for it.
func (o tailOptions) within(offset int64, topic string, ends map[int32]int64) error {
	var shown []string
	for _, partition := range slices.Sorted(maps.Keys(ends)) {
		if o.partition >= 0 && partition != o.partition {
			continue
		}
		if offset <= ends[partition] {
			return nil
		}
		shown = append(shown, fmt.Sprintf("%d at %d", partition, ends[partition]))
	}
	if len(shown) == 0 {
		return nil // there is no such partition, which is told elsewhere
	}
	return usageError{fmt.Errorf("tail: --from %d is beyond the end of %s: partition %s", offset, topic, strings.Join(shown, ", "))}
}

// sinceTime reads --since.
func sinceTime(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago.Abs()), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, usageError{fmt.Errorf("tail: --since %q is neither a duration such as 15m nor a time such as 2026-11-21T08:00:00Z", text)}
}

func tail(ctx context.Context, s settings.Settings, topic string, o tailOptions, out io.Writer) error {
	if o.format != "text" && o.format != "json" {
		return usageError{fmt.Errorf("tail: there is no format %q; there are text and json", o.format)}
	}
	return withAdmin(s, func(admin *log.Admin) error {
		from, to, err := o.beginning(ctx, admin, topic)
		if err != nil {
			return err
		}
		options, err := s.Kafka.ClientOptions()
		if err != nil {
			return err
		}
		offsets := map[int32]kgo.Offset{}
		for partition, offset := range from {
			if to == nil || offset < to[partition] {
				offsets[partition] = kgo.NewOffset().At(offset)
			}
		}
		if len(offsets) == 0 {
			return nil
		}
		isolation := kgo.ReadCommitted()
		if o.uncommitted {
			isolation = kgo.ReadUncommitted()
		}
		client, err := kgo.NewClient(append(options,
			kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets}), kgo.FetchIsolationLevel(isolation),
			kgo.KeepControlRecords(), // else the end of a partition that ends in a marker would never be seen
		)...)
		if err != nil {
			return err
		}
		defer client.Close()
		return show(ctx, client, offsets, to, o, out)
	})
}

// tailSilence is after how long without a record what is left of a partition is taken to be nothing that is shown: the
// last offsets may have been compacted away.
const tailSilence = 3 * time.Second

// poll waits for records; if bounded, for so long only.
func poll(ctx context.Context, client *kgo.Client, bounded bool) (fetches kgo.Fetches, silent bool) {
	if !bounded {
		return client.PollFetches(ctx), false
	}
	limited, cancel := context.WithTimeout(ctx, tailSilence)
	defer cancel()
	fetches = client.PollFetches(limited)
	return fetches, limited.Err() != nil && fetches.NumRecords() == 0
}

// show prints records until all partitions have reached their end, the limit is reached, or ctx is done.
func show(ctx context.Context, client *kgo.Client, open map[int32]kgo.Offset, to map[int32]int64, o tailOptions, out io.Writer) error {
	shown := 0
	for len(open) > 0 {
		fetches, silent := poll(ctx, client, to != nil)
		if ctx.Err() != nil || silent {
			return nil
		}
		if err := fetches.Err0(); err != nil {
			return err
		}
		var failed error
		fetches.EachError(func(_ string, _ int32, err error) { failed = errors.Join(failed, err) })
		if failed != nil {
			return failed
		}
		for iterator := fetches.RecordIter(); !iterator.Done(); {
			record := iterator.Next()
			if to != nil && record.Offset >= to[record.Partition]-1 {
				delete(open, record.Partition)
			}
			if to != nil && record.Offset >= to[record.Partition] || record.Attrs.IsControl() {
				continue
			}
			if err := printRecord(out, record, o.format); err != nil {
				return err
			}
			if shown++; shown == o.limit {
				return nil
			}
		}
	}
	return nil
}

// shownRecord is a record as --format json has it.
type shownRecord struct {
	Topic     string            `json:"topic"`
	Partition int32             `json:"partition"`
	Offset    int64             `json:"offset"`
	Timestamp string            `json:"timestamp"`
	Key       json.RawMessage   `json:"key"`
	Headers   map[string]string `json:"headers,omitempty"`
	Value     json.RawMessage   `json:"value"`
}

func printRecord(out io.Writer, record *kgo.Record, format string) error {
	at := record.Timestamp.UTC().Format("2006-01-02T15:04:05.000Z")
	if format == "json" {
		headers := map[string]string{}
		for _, header := range record.Headers {
			headers[header.Key] = headerText(header)
		}
		line, err := json.Marshal(shownRecord{
			Topic: record.Topic, Partition: record.Partition, Offset: record.Offset, Timestamp: at,
			Key: asJSON(record.Key, false), Headers: headers, Value: asJSON(record.Value, true),
		})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%s\n", line)
		return err
	}
	var line strings.Builder
	fmt.Fprintf(&line, "%s/%d@%d  %s  key=%s", record.Topic, record.Partition, record.Offset, at, asText(record.Key))
	for _, header := range record.Headers {
		fmt.Fprintf(&line, "  %s=%s", header.Key, headerText(header))
	}
	_, err := fmt.Fprintf(out, "%s\n  %s\n", line.String(), asText(record.Value))
	return err
}

// headerText decodes the framework's headers, and shows others as text or hexadecimal.
func headerText(header kgo.RecordHeader) string {
	switch header.Key {
	case meta.Cause:
		if partition, offset, err := meta.ParseCause(header.Value); err == nil {
			return fmt.Sprintf("%d@%d", partition, offset)
		}
	case meta.Fingerprint, meta.Changelog:
		return hex.EncodeToString(header.Value)
	}
	return asText(header.Value)
}

// asText shows bytes as what they most probably are.
func asText(data []byte) string {
	switch {
	case data == nil:
		return "null"
	case !utf8.Valid(data):
		return "0x" + hex.EncodeToString(data)
	case bytes.ContainsFunc(data, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return strconv.Quote(string(data))
	}
	return string(data)
}

// asJSON returns bytes as JSON: themselves where they are JSON, else as a string.
func asJSON(data []byte, parse bool) json.RawMessage {
	if data == nil {
		return json.RawMessage("null")
	}
	if parse && json.Valid(data) {
		return data
	}
	text := string(data)
	if !utf8.Valid(data) {
		text = "0x" + hex.EncodeToString(data)
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		return json.RawMessage("null") // text is UTF-8: there is nothing that JSON cannot hold
	}
	return quoted
}

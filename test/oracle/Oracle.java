import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.Properties;
import java.util.TreeMap;
import java.util.function.BiConsumer;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.TestInputTopic;
import org.apache.kafka.streams.TestOutputTopic;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.kstream.Branched;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.test.TestRecord;

/**
 * Kafka Streams as the oracle of package topology: the same small topologies as in topology/oracle_test.go.
 *
 * <p>Standard input: "case NAME", then "in TOPIC KEY VALUE TIMESTAMP LINE" for each record, "~" being null, and "tick MS" for
 * wall-clock time that passes. Standard output: "case NAME", then "TOPIC KEY=VALUE at TIMESTAMP line LINE" for each output record, topic by topic.
 */
public final class Oracle {
  private static final Consumed<String, String> TEXTS = Consumed.with(Serdes.String(), Serdes.String());
  private static final Produced<String, String> OUT = Produced.with(Serdes.String(), Serdes.String());
  private static final Produced<String, Long> COUNTS = Produced.with(Serdes.String(), Serdes.Long());
  private static final Grouped<String, String> GROUPED = Grouped.with(Serdes.String(), Serdes.String());

  private static final TreeMap<String, BiConsumer<StreamsBuilder, KStream<String, String>>> CASES = new TreeMap<>();

  static {
    CASES.put("filter", (b, in) -> in.filter((k, v) -> v == null || even(v)).to("out", OUT));
    CASES.put("filterNot", (b, in) -> in.filterNot((k, v) -> v != null && even(v)).to("out", OUT));
    CASES.put("mapValues", (b, in) -> in.mapValues(v -> v == null ? null : v + "!").to("out", OUT));
    CASES.put("map", (b, in) -> present(in).map((k, v) -> KeyValue.pair(group(v), text(k) + v)).to("out", OUT));
    CASES.put("selectKey", (b, in) -> present(in).selectKey((k, v) -> group(v)).to("out", OUT));
    CASES.put("flatMap", (b, in) -> present(in)
        .flatMap((k, v) -> Arrays.asList(KeyValue.pair(v, text(k)), KeyValue.pair(text(k), v))).to("out", OUT));
    CASES.put("flatMapValues", (b, in) -> present(in).flatMapValues(v -> Arrays.asList(v.split("1"))).to("out", OUT));
    CASES.put("merge", (b, in) -> in.filter((k, v) -> v == null || even(v))
        .merge(in.mapValues(v -> v == null ? null : v + "!")).merge(b.stream("other", TEXTS)).to("out", OUT));
    CASES.put("split", (b, in) -> present(in).split(Named.as("s-"))
        .branch((k, v) -> even(v), Branched.withConsumer(s -> s.to("even", OUT)))
        .branch((k, v) -> v.length() > 1, Branched.withConsumer(s -> s.to("long", OUT)))
        .defaultBranch(Branched.withConsumer(s -> s.to("out", OUT))));
    CASES.put("repartition", (b, in) -> present(in).selectKey((k, v) -> group(v))
        .repartition(Repartitioned.with(Serdes.String(), Serdes.String()).withName("again")).to("out", OUT));
    CASES.put("toTable", (b, in) -> in.toTable(texts("rows")).toStream().to("out", OUT));
    CASES.put("toTableRekeyed", (b, in) -> present(in).selectKey((k, v) -> group(v)).toTable(texts("rows")).toStream().to("out", OUT));
    CASES.put("table", (b, in) -> b.table("other", TEXTS, texts("rows")).toStream().to("out", OUT));
    CASES.put("count", (b, in) -> in.groupByKey(GROUPED).count(counts("rows")).toStream().to("counts", COUNTS));
    CASES.put("countBy", (b, in) -> present(in).groupBy((k, v) -> group(v), GROUPED).count(counts("rows")).toStream().to("counts", COUNTS));
    CASES.put("reduce", (b, in) -> in.groupByKey(GROUPED).reduce((a, v) -> a + "+" + v, texts("rows")).toStream().to("out", OUT));
    CASES.put("aggregate", (b, in) -> in.groupByKey(GROUPED)
        .aggregate(() -> 100L, (k, v, a) -> a + Long.parseLong(v), counts("rows")).toStream().to("counts", COUNTS));
    CASES.put("tableMapValues", (b, in) -> in.toTable(texts("rows")).mapValues(v -> v + "!").toStream().to("out", OUT));
    CASES.put("tableFilter", (b, in) -> {
      KTable<String, String> even = in.toTable(texts("rows")).filter((k, v) -> even(v));
      even.toStream().to("out", OUT);
      even.groupBy((k, v) -> KeyValue.pair(group(v), v), GROUPED).count(counts("grouped")).toStream().to("counts", COUNTS);
    });
    CASES.put("tableFilterMaterialized", (b, in) -> {
      KTable<String, String> kept = in.toTable(texts("rows")).mapValues(v -> v + "0").filterNot((k, v) -> v.length() > 2, texts("kept"));
      kept.toStream().to("out", OUT);
      kept.groupBy((k, v) -> KeyValue.pair("all", v), GROUPED).count(counts("grouped")).toStream().to("counts", COUNTS);
    });
    CASES.put("tableCount", (b, in) -> in.toTable(texts("rows")).groupBy((k, v) -> KeyValue.pair(group(v), v), GROUPED)
        .count(counts("grouped")).toStream().to("counts", COUNTS));
    CASES.put("tableReduce", (b, in) -> in.toTable(texts("rows")).groupBy((k, v) -> KeyValue.pair(group(v), v), GROUPED)
        .reduce((a, v) -> a + "+" + v, (a, v) -> a + "-" + v, texts("grouped")).toStream().to("out", OUT));
    CASES.put("tableAggregate", (b, in) -> in.toTable(texts("rows")).groupBy((k, v) -> KeyValue.pair(group(v), v), GROUPED)
        .aggregate(() -> 0L, (k, v, a) -> a + Long.parseLong(v), (k, v, a) -> a - Long.parseLong(v), counts("grouped"))
        .toStream().to("counts", COUNTS));
    // Rows: what Kafka Streams can say by composing the key, here as our codec does, by hand.
    CASES.put("rows", (b, in) -> rows(in).toStream().to("out", OUT));
    CASES.put("rowsWithin", (b, in) -> follow(rows(in), (r, v) -> row(part(r), v + "/" + r.substring(4, r.length() - 2)), "by-value").toStream().to("out", OUT));
    CASES.put("rowsCount", (b, in) -> rows(in).groupBy((r, v) -> KeyValue.pair(part(r), v), GROUPED)
        .count(counts("grouped")).toStream().to("counts", COUNTS));
    CASES.put("rowsReduce", (b, in) -> rows(in).groupBy((r, v) -> KeyValue.pair(part(r), v), GROUPED)
        .reduce((a, v) -> a + "+" + v, (a, v) -> a + "-" + v, texts("grouped")).toStream().to("out", OUT));
    CASES.put("reduceOfReduces", (b, in) -> in.groupByKey(GROUPED).reduce((a, v) -> v, texts("rows"))
        .groupBy((k, v) -> KeyValue.pair(group(v), v), GROUPED)
        .reduce((a, v) -> a + "+" + v, (a, v) -> a + "-" + v, texts("grouped")).toStream().to("out", OUT));
    CASES.put("tableFilterAlone", (b, in) -> in.toTable(texts("rows")).filter((k, v) -> even(v)).toStream().to("out", OUT));
    CASES.put("punctuate", (b, in) -> in.process(Punctuating::new).to("out", OUT));
    // Where this DSL differs for a reason: see TestOracleDifferences.
    CASES.put("countOfCounts", (b, in) -> in.groupByKey(GROUPED).count(counts("rows"))
        .groupBy((k, n) -> KeyValue.pair(n % 2 == 0 ? "even" : "odd", n), Grouped.with(Serdes.String(), Serdes.Long()))
        .count(counts("grouped")).toStream().to("counts", COUNTS));
  }

  /** Counts records and tells in both kinds of time. */
  private static final class Punctuating extends ContextualProcessor<String, String, String, String> {
    private int records;

    @Override
    public void init(ProcessorContext<String, String> context) {
      super.init(context);
      context.schedule(Duration.ofMillis(30), PunctuationType.STREAM_TIME, now -> tell("stream", now));
      context.schedule(Duration.ofMillis(50), PunctuationType.WALL_CLOCK_TIME, now -> tell("wall", now));
    }

    private void tell(String kind, long now) {
      context().forward(new Record<>(kind, String.valueOf(records), now));
    }

    @Override
    public void process(Record<String, String> record) {
      records++;
    }
  }

  /** The rows of a table under another key: an update moves one, a deletion deletes it. */
  private static KTable<String, String> follow(KTable<String, String> table, java.util.function.BiFunction<String, String, String> key, String name) {
    return table.groupBy((k, v) -> KeyValue.pair(key.apply(k, v), v), GROUPED).aggregate(() -> null, (r, v, a) -> v, (r, v, a) -> null, texts(name));
  }

  private static KTable<String, String> rows(KStream<String, String> in) {
    return follow(in.toTable(texts("rows")), (k, v) -> row(group(v), k), "by-group");
  }

  private static String row(String partition, String sort) {
    return partition + "\0\1" + sort + "\0\1";
  }

  private static String part(String row) {
    return row.substring(0, 2);
  }

  private static KStream<String, String> present(KStream<String, String> in) {
    return in.filter((k, v) -> v != null);
  }

  private static boolean even(String v) {
    return Long.parseLong(v) % 2 == 0;
  }

  private static String group(String v) {
    return "g" + Long.parseLong(v) % 3;
  }

  private static String text(String k) {
    return k == null ? "" : k;
  }

  private static Materialized<String, String, KeyValueStore<Bytes, byte[]>> texts(String name) {
    return Materialized.<String, String>as(Stores.inMemoryKeyValueStore(name)).withKeySerde(Serdes.String()).withValueSerde(Serdes.String());
  }

  private static Materialized<String, Long, KeyValueStore<Bytes, byte[]>> counts(String name) {
    return Materialized.<String, Long>as(Stores.inMemoryKeyValueStore(name)).withKeySerde(Serdes.String()).withValueSerde(Serdes.Long());
  }

  private static TopologyTestDriver driver(String name) {
    StreamsBuilder builder = new StreamsBuilder();
    CASES.get(name).accept(builder, builder.stream("in", TEXTS));
    Properties config = new Properties();
    config.put(StreamsConfig.APPLICATION_ID_CONFIG, "oracle");
    config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, "none:1");
    config.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
    config.put(StreamsConfig.STATE_DIR_CONFIG, System.getProperty("state.dir"));
    return new TopologyTestDriver(builder.build(), config, Instant.ofEpochMilli(1000));
  }

  private static void pipe(TopologyTestDriver driver, String[] in) {
    TestInputTopic<String, String> topic = driver.createInputTopic(in[1], new StringSerializer(), new StringSerializer());
    Headers headers = new RecordHeaders().add("line", in[5].getBytes(StandardCharsets.UTF_8));
    topic.pipeInput(new TestRecord<>(nullable(in[2]), nullable(in[3]), headers, Long.valueOf(in[4])));
  }

  private static String nullable(String text) {
    return text.equals("~") ? null : text;
  }

  private static <V> void print(PrintStream out, TopologyTestDriver driver, String name, Deserializer<V> deserializer) {
    TestOutputTopic<String, V> topic = driver.createOutputTopic(name, new StringDeserializer(), deserializer);
    while (!topic.isEmpty()) {
      TestRecord<String, V> record = topic.readRecord();
      StringBuilder line = new StringBuilder();
      for (Header header : record.headers()) {
        line.append(header.key()).append(' ').append(new String(header.value(), StandardCharsets.UTF_8));
      }
      out.println(name + " " + record.key() + "=" + record.value() + " at " + record.timestamp() + " " + line);
    }
  }

  private static void finish(PrintStream out, TopologyTestDriver driver) {
    if (driver == null) {
      return;
    }
    print(out, driver, "counts", new LongDeserializer());
    for (String name : new String[] {"even", "long", "out"}) {
      print(out, driver, name, new StringDeserializer());
    }
    driver.close();
  }

  public static void main(String[] args) throws Exception {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    TopologyTestDriver driver = null;
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String[] parts = line.split(" ");
      if (parts[0].equals("case")) {
        finish(out, driver);
        out.println(line);
        driver = driver(parts[1]);
      } else if (parts[0].equals("tick")) {
        driver.advanceWallClockTime(Duration.ofMillis(Long.parseLong(parts[1])));
      } else {
        pipe(driver, parts);
      }
    }
    finish(out, driver);
    out.flush();
  }
}

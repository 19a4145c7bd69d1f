package tidemill.bench;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * The calculator's processor on Kafka Streams: one of the programs that make bench measures Tidemill against.
 *
 * <p>Arguments are settings of Kafka Streams, "name=value"; those that begin with "bench." are this program's: bench.commands,
 * bench.events and bench.rejections name the topics, bench.caching=true gives the store the record cache. Standard output has
 * "running" when the topology runs, and "restoring" and "restored" round what is restored before.
 */
public final class Calculator {
  private static final ObjectMapper JSON = new ObjectMapper();

  record Request(@JsonProperty("value-id") String valueId, String operation, double value) {}

  record Command(String id, String action, Request data, long timestamp) {}

  @JsonInclude(JsonInclude.Include.NON_NULL)
  record Change(@JsonProperty("value-id") String valueId, String operation, double value, Double result) {}

  record Event(String id, @JsonProperty("parent-id") String parentId, String action, Change data, long timestamp) {}

  record Rejection(@JsonProperty("parent-id") String parentId, String action, String reason) {}

  record Value(double value) {}

  /** The business logic. */
  private static final class Decide implements Processor<String, Command, String, Object> {
    private ProcessorContext<String, Object> context;
    private KeyValueStore<String, Value> values;

    @Override
    public void init(ProcessorContext<String, Object> context) {
      this.context = context;
      this.values = context.getStateStore("values");
    }

    @Override
    public void process(Record<String, Command> record) {
      Command c = record.value();
      Value state = values.get(record.key());
      double result = c.data().value();
      Change change;
      String action;
      if (c.action().equals("CreateValue")) {
        if (state != null) {
          reject(record, "value already exists");
          return;
        }
        action = "ValueCreated";
        change = new Change(c.data().valueId(), null, result, null);
      } else if (!c.action().equals("UpdateValue") || state == null) {
        reject(record, "unknown action, or no such value");
        return;
      } else {
        result = c.data().operation().equals("MULTIPLY") ? state.value() * result : state.value() + result;
        action = "ValueUpdated";
        change = new Change(c.data().valueId(), c.data().operation(), c.data().value(), result);
      }
      values.put(record.key(), new Value(result));
      String id = UUID.nameUUIDFromBytes(c.id().getBytes(StandardCharsets.UTF_8)).toString();
      context.forward(record.withValue(new Event(id, c.id(), action, change, c.timestamp())), "events");
    }

    private void reject(Record<String, Command> record, String reason) {
      context.forward(record.withValue(new Rejection(record.value().id(), "CommandRejected", reason)), "rejections");
    }
  }

  private static <T> Serializer<T> serializer(Class<? extends T> type) {
    ObjectWriter writer = type == Object.class ? JSON.writer() : JSON.writerFor(type);
    return (topic, value) -> {
      try {
        return value == null ? null : writer.writeValueAsBytes(value);
      } catch (IOException e) {
        throw new SerializationException(e);
      }
    };
  }

  private static <T> Deserializer<T> deserializer(Class<T> type) {
    ObjectReader reader = JSON.readerFor(type);
    return (topic, data) -> {
      try {
        return data == null ? null : reader.readValue(data);
      } catch (IOException e) {
        throw new SerializationException(e);
      }
    };
  }

  private static Topology topology(String commands, String events, String rejections, boolean caching) {
    Serde<Value> serde = Serdes.serdeFrom(Calculator.<Value>serializer(Value.class), deserializer(Value.class));
    StoreBuilder<KeyValueStore<String, Value>> values =
        Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("values"), Serdes.String(), serde);
    if (caching) {
      values.withCachingEnabled();
    }
    return new Topology()
        .addSource("commands", new StringDeserializer(), deserializer(Command.class), commands)
        .addProcessor("decide", Decide::new, "commands")
        .addStateStore(values, "decide")
        .addSink("events", events, new StringSerializer(), Calculator.<Object>serializer(Object.class), "decide")
        .addSink("rejections", rejections, new StringSerializer(), Calculator.<Object>serializer(Object.class), "decide");
  }

  private static synchronized void say(String what) {
    System.out.println(what);
    System.out.flush();
  }

  /** Says when what is restored begins and ends. */
  private static final class Restores implements StateRestoreListener {
    @Override
    public void onRestoreStart(TopicPartition partition, String store, long from, long to) {
      say("restoring");
    }

    @Override
    public void onBatchRestored(TopicPartition partition, String store, long at, long count) {}

    @Override
    public void onRestoreEnd(TopicPartition partition, String store, long total) {
      say("restored");
    }
  }

  public static void main(String[] args) throws InterruptedException {
    Properties settings = new Properties();
    for (String arg : args) {
      int at = arg.indexOf('=');
      settings.put(arg.substring(0, at), arg.substring(at + 1));
    }
    KafkaStreams streams = new KafkaStreams(
        topology(settings.getProperty("bench.commands"), settings.getProperty("bench.events"),
            settings.getProperty("bench.rejections"), Boolean.parseBoolean(settings.getProperty("bench.caching"))),
        settings);
    CountDownLatch failed = new CountDownLatch(1);
    streams.setStateListener((now, before) -> {
      if (now == KafkaStreams.State.RUNNING) {
        say("running");
      } else if (now == KafkaStreams.State.ERROR) {
        failed.countDown();
      }
    });
    streams.setUncaughtExceptionHandler(e -> {
      e.printStackTrace();
      return org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
    });
    streams.setGlobalStateRestoreListener(new Restores());
    Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
    streams.start();
    failed.await();
    System.exit(1);
  }
}

import com.sun.management.OperatingSystemMXBean;
import java.io.Serializable;
import java.lang.management.ManagementFactory;
import java.util.HashMap;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.serialization.AbstractDeserializationSchema;
import org.apache.flink.api.common.serialization.SimpleStringSchema;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/** The rules of benchmarks/policy.yaml as a Flink job: see benchmarks/peers/__init__.py. */
public class FlinkJob {
    static final int BINS = 17;
    static final long WITHIN_MS = 300_000;
    static final AtomicLong seen = new AtomicLong();
    static volatile long beganNs;
    static volatile long beganCpuNs;

    /** An event; what the rules do not ask for is not read. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public static class Event implements Serializable {
        public long at_ms;
        public String workload;
        public String operation;
        public String outcome = "served";
        public String task = "";
        public long bytes;
        public long count = 1;

        public Event() {}
    }

    record Limit(String rule, String measure, long atMost, long windowMs, String operations,
            String action, boolean onTask, long forMs) {
        long amount(Event event) {
            if (!event.operation.startsWith(operations)) {
                return 0;
            }
            return switch (measure) {
                case "requests" -> event.count;
                case "bytes" -> event.bytes;
                case "errors" -> event.outcome.equals("failed") ? event.count : 0;
                default -> event.outcome.equals("denied") ? event.count : 0;
            };
        }
    }

    static final Limit[] LIMITS = {
        new Limit("burst", "requests", 1_000, 1_000, "", "throttle", false, 60_000),
        new Limit("sustained", "requests", 260, 10_000, "tool:query_", "throttle", false, 60_000),
        new Limit("errors", "errors", 100, 60_000, "", "throttle", false, 300_000),
        new Limit("denials", "denials", 20, 300_000, "", "revoke", true, 900_000),
        new Limit("volume", "bytes", 10_000_000_000L, 3_600_000, "", "throttle", false, 600_000),
    };
    static final Limit SEQUENCE = new Limit("read-then-send", "", 0, 0, "", "revoke", true, 900_000);

    /** What is kept of a workload. */
    public static class Profile implements Serializable {
        public long clockMs;
        public long[] newest = new long[LIMITS.length];
        public long[] totals = new long[LIMITS.length];
        public long[][] bins = new long[LIMITS.length][BINS];
        public HashMap<String, Long> readMs = new HashMap<>();
        public HashMap<String, Long> inForce = new HashMap<>();

        public Profile() {}

        void slide(int place, long bin) {
            long moved = bin - newest[place];
            if (moved <= 0) {
                return;
            }
            for (long step = 1; step <= Math.min(moved, BINS); step++) {
                int at = (int) ((newest[place] + step) % BINS);
                totals[place] -= bins[place][at];
                bins[place][at] = 0;
            }
            newest[place] = bin;
        }
    }

    /** Counts an event in every window, and says what it breaks. */
    public static class Judge extends KeyedProcessFunction<String, Event, String> {
        private transient ValueState<Profile> profiles;

        @Override
        public void open(OpenContext context) {
            profiles = getRuntimeContext().getState(
                new ValueStateDescriptor<>("profile", Profile.class));
        }

        @Override
        public void processElement(Event event, Context context, Collector<String> out)
                throws Exception {
            Profile profile = profiles.value();
            if (profile == null) {
                profile = new Profile();
            }
            profile.clockMs = Math.max(profile.clockMs, event.at_ms);
            for (int place = 0; place < LIMITS.length; place++) {
                Limit limit = LIMITS[place];
                long newest = profile.clockMs * (BINS - 1) / limit.windowMs();
                profile.slide(place, newest);
                long amount = limit.amount(event);
                long bin = event.at_ms * (BINS - 1) / limit.windowMs();
                if (amount > 0 && bin > newest - BINS) {
                    profile.bins[place][(int) (bin % BINS)] += amount;
                    profile.totals[place] += amount;
                }
                if (profile.totals[place] > limit.atMost()) {
                    enforce(profile, event, limit, out);
                }
            }
            Long readMs = profile.readMs.get(event.task);
            boolean hasRead = readMs != null && profile.clockMs - readMs <= WITHIN_MS;
            if (hasRead && event.operation.startsWith("tool:send_")) {
                enforce(profile, event, SEQUENCE, out);
            }
            if (event.operation.startsWith("tool:read_") && !event.outcome.equals("denied")) {
                profile.readMs.put(event.task, profile.clockMs);
            }
            profiles.update(profile);
        }

        private void enforce(Profile profile, Event event, Limit limit, Collector<String> out) {
            String task = limit.onTask() ? event.task : "";
            String subject = limit.rule() + "/" + task;
            Long since = profile.inForce.get(subject);
            if (since != null && profile.clockMs - since < limit.forMs() / 2) {
                return;
            }
            profile.inForce.put(subject, profile.clockMs);
            out.collect(String.format(
                "{\"workload\":\"%s\",\"rule\":\"%s\",\"action\":\"%s\",\"task\":\"%s\","
                    + "\"clock_ms\":%d,\"until_ms\":%d}",
                event.workload, limit.rule(), limit.action(), task, profile.clockMs,
                profile.clockMs + limit.forMs()));
        }
    }

    /** Reads JSON with Jackson, as Flink's own format does. */
    public static class Decode extends AbstractDeserializationSchema<Event> {
        private transient ObjectMapper mapper;

        @Override
        public void open(InitializationContext context) {
            mapper = new ObjectMapper();
        }

        @Override
        public Event deserialize(byte[] message) throws java.io.IOException {
            if (seen.getAndIncrement() == 0) {
                beganNs = System.nanoTime();
                beganCpuNs = cpuNs();
            }
            return mapper.readValue(message, Event.class);
        }
    }

    static long cpuNs() {
        return ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
            .getProcessCpuTime();
    }

    public static void main(String[] given) throws Exception {
        Configuration settings = new Configuration();
        settings.set(StateBackendOptions.STATE_BACKEND, "hashmap");
        settings.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, "file://" + given[4]);
        StreamExecutionEnvironment flow =
            StreamExecutionEnvironment.getExecutionEnvironment(settings);
        flow.setParallelism(1);
        flow.enableCheckpointing(5_000);
        // The events of one process are not changed after they were handed on.
        flow.getConfig().enableObjectReuse();
        KafkaSource<Event> source = KafkaSource.<Event>builder()
            .setBootstrapServers(given[0])
            .setTopics(given[1])
            .setGroupId(given[3])
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setBounded(OffsetsInitializer.latest())
            .setValueOnlyDeserializer(new Decode())
            .build();
        KafkaSink<String> sink = KafkaSink.<String>builder()
            .setBootstrapServers(given[0])
            .setRecordSerializer(KafkaRecordSerializationSchema.<String>builder()
                .setTopic(given[2])
                .setValueSerializationSchema(new SimpleStringSchema())
                .build())
            .setDeliveryGuarantee(DeliveryGuarantee.AT_LEAST_ONCE)
            .build();
        flow.fromSource(source, WatermarkStrategy.noWatermarks(), "requests")
            .keyBy(event -> event.workload)
            .process(new Judge())
            .sinkTo(sink);
        flow.execute("enforcer");
        System.out.printf("{\"events\": %d, \"wall_s\": %.6f, \"cpu_s\": %.6f}%n", seen.get(),
            (System.nanoTime() - beganNs) / 1e9, (cpuNs() - beganCpuNs) / 1e9);
    }
}

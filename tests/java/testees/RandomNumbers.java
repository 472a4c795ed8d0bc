import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.SplittableRandom;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ThreadLocalRandom;
import java.util.random.RandomGenerator;

/** Everything that the JDK draws for itself differs in master and clones; a program's own Random repeats, as documented. */
public final class RandomNumbers {
    private static final Map<String, Callable<Object>> DRAWN = new LinkedHashMap<>();

    public static void main(String[] args) throws Exception {
        for (String kind : List.of("NativePRNG", "NativePRNGBlocking", "NativePRNGNonBlocking", "SHA1PRNG", "DRBG")) {
            SecureRandom random = SecureRandom.getInstance(kind);
            DRAWN.put(kind, random::nextLong);
        }
        SecureRandom usual = new SecureRandom();
        DRAWN.put("SecureRandom", usual::nextLong);
        for (String kind : List.of("Hash_DRBG,SHA-512,256,none", "HMAC_DRBG,SHA-256,256,none", "CTR_DRBG,AES-128,128,use_df")) {
            java.security.Security.setProperty("securerandom.drbg.config", kind);
            SecureRandom random = SecureRandom.getInstance("DRBG");
            DRAWN.put(kind, random::nextLong);
        }
        DRAWN.put("UUID", UUID::randomUUID);
        DRAWN.put("Math.random", Math::random);
        DRAWN.put("ThreadLocalRandom", () -> ThreadLocalRandom.current().nextLong());
        ExecutorService other = Executors.newSingleThreadExecutor(task -> {
            Thread thread = new Thread(task);
            thread.setDaemon(true);
            return thread;
        });
        DRAWN.put("ThreadLocalRandom of another thread", () -> other.submit(() -> ThreadLocalRandom.current().nextLong()).get());
        DRAWN.put("a new SplittableRandom", () -> new SplittableRandom().nextLong());
        DRAWN.put("a new Random", () -> new Random().nextLong());
        DRAWN.put("RandomGenerator.getDefault", () -> RandomGenerator.getDefault().nextLong());
        DRAWN.put("a new L64X128MixRandom", () -> RandomGenerator.of("L64X128MixRandom").nextLong());
        List<Integer> cards = new ArrayList<>(Collections.nCopies(100, 0));
        for (int at = 0; at < cards.size(); ++at) cards.set(at, at);
        DRAWN.put("Collections.shuffle", () -> {
            Collections.shuffle(cards);
            return cards.toString();
        });
        DRAWN.put("File.createTempFile", () -> {
            java.io.File file = java.io.File.createTempFile("fork", "");
            file.delete();
            return file.getName();
        });
        Random own = new Random(42);
        DRAWN.put("own", own::nextLong);
        draw(); // all have begun

        List<String> drawn = new ArrayList<>(Family.clones(3, RandomNumbers::draw));
        drawn.add(draw());
        int column = 0;
        for (String name : DRAWN.keySet()) {
            int at = column++;
            long different = new HashSet<>(drawn.stream().map(row -> row.split(";")[at]).toList()).size();
            Family.checkEqual(different, name.equals("own") ? 1L : 4L, "different values of " + name);
        }
    }

    private static String draw() throws Exception {
        List<String> row = new ArrayList<>();
        for (Callable<Object> each : DRAWN.values()) row.add(String.valueOf(each.call()));
        return String.join(";", row);
    }
}

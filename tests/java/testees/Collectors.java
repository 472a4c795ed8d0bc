import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;

/** Threads allocate while clones are made; in each clone they go on, garbage is collected and the heap is sound. Argument: MB of the heap to fill. */
public final class Collectors {
    private static final class Node {
        final long value;
        final Node next;

        Node(long value, Node next) {
            this.value = value;
            this.next = next;
        }
    }

    public static void main(String[] args) throws Exception {
        List<byte[]> filling = new ArrayList<>();
        for (int mb = 0; mb < Integer.parseInt(args.length > 0 ? args[0] : "0"); ++mb) {
            for (int part = 0; part < 16; ++part) { // small enough not to be humongous
                byte[] block = new byte[1 << 16];
                for (int at = 0; at < block.length; at += 4096) block[at] = (byte) mb;
                filling.add(block);
            }
        }
        AtomicLong rounds = new AtomicLong();
        AtomicBoolean broken = new AtomicBoolean();
        for (int thread = 0; thread < 3; ++thread) {
            Thread allocating = new Thread(() -> allocate(rounds, broken));
            allocating.setDaemon(true);
            allocating.start();
        }
        while (rounds.get() < 20) Thread.sleep(1);
        for (int round = 0; round < 3; ++round) {
            Family.clones(3, () -> {
                long before = rounds.get();
                while (rounds.get() < before + 10) Thread.sleep(1); // the other threads go on
                System.gc();
                before = rounds.get();
                while (rounds.get() < before + 10) Thread.sleep(1);
                for (int at = 0; at < filling.size(); ++at) Family.checkEqual(filling.get(at)[4096], (byte) (at / 16), "the heap");
                Family.check(!broken.get(), "a list is broken");
                return "";
            });
        }
        System.gc();
        Family.check(!broken.get(), "a list is broken in the master");
    }

    private static void allocate(AtomicLong rounds, AtomicBoolean broken) {
        while (true) {
            Node list = null;
            long sum = 0;
            for (long value = 0; value < 20_000; ++value) list = new Node(value, list);
            for (Node node = list; node != null; node = node.next) sum += node.value;
            if (sum != 19_999L * 20_000 / 2) broken.set(true);
            rounds.incrementAndGet();
        }
    }
}

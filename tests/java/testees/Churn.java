import ca.gridcentric.guest.API;
import ca.gridcentric.guest.CloneFailedException;
import ca.gridcentric.guest.Result;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;

/** Clonings under load: threads allocate, lock, sleep and talk over sockets all the time. Argument: how many clonings. */
public final class Churn {
    private static final AtomicLong[] PROGRESS = new AtomicLong[6];
    private static final ConcurrentHashMap<Integer, String> SHARED = new ConcurrentHashMap<>();
    private static final Object MONITOR = new Object();
    private static long counted;
    private static int refused;

    public static void main(String[] args) throws Exception {
        for (int at = 0; at < PROGRESS.length; ++at) PROGRESS[at] = new AtomicLong();
        try (ServerSocket server = new ServerSocket(0, 50, InetAddress.getByName("0.0.0.0"))) {
            start(() -> answer(server));
            start(() -> churn(PROGRESS[0]));
            start(() -> churn(PROGRESS[1]));
            start(() -> count(PROGRESS[2]));
            start(() -> count(PROGRESS[3]));
            start(() -> sleep(PROGRESS[4]));
            start(() -> ask(server.getLocalPort(), PROGRESS[5]));
            awaitProgress();
            for (int round = 0; round < Integer.parseInt(args[0]); ++round) once(round);
            awaitProgress();
        }
        System.exit(0);
    }

    private static void once(int round) throws InterruptedException {
        API guest = Family.GUEST;
        API.Uuid ticket = guest.requestTicket(2, 2, 1, 0);
        int vmid = cloneWith(ticket);
        if (vmid > 0) {
            awaitProgress();
            if (round % 4 == 0) System.gc();
            if (round % 3 == 0) System.exit(0);
            guest.join("went on");
        }
        for (Result result : guest.waitForAndForget(ticket, 100_000)) {
            boolean well = round % 3 == 0 ? result.how() == Result.End.EXITED && result.status() == 0 : result.how() == Result.End.JOINED;
            Family.check(well, "round " + round + ": " + result);
        }
    }

    // Where the computer is so busy that ZGC's heap is not copied in the time for which a program may stand still, no clone is made and
    // nothing has changed: the ticket can be used again.
    private static int cloneWith(API.Uuid ticket) {
        while (true) {
            try {
                return Family.GUEST.clone(ticket);
            } catch (CloneFailedException busy) {
                Family.check(++refused <= 20 && busy.getMessage().contains("while the program was stopped"), busy.toString());
            }
        }
    }

    /** Every thread has done something more. */
    private static void awaitProgress() throws InterruptedException {
        List<Long> before = new ArrayList<>();
        for (AtomicLong each : PROGRESS) before.add(each.get());
        for (int at = 0; at < PROGRESS.length; ++at)
            while (PROGRESS[at].get() < before.get(at) + 2) Thread.sleep(1);
    }

    private interface Work {
        void run() throws Exception;
    }

    private static void start(Work work) {
        Thread thread = new Thread(() -> {
            try {
                work.run();
            } catch (Exception failure) {
                failure.printStackTrace();
                System.exit(70);
            }
        });
        thread.setDaemon(true);
        thread.start();
    }

    private static void churn(AtomicLong progress) {
        while (true) {
            for (int at = 0; at < 2000; ++at) SHARED.put(at, "value " + progress.get() + " of " + at);
            progress.incrementAndGet();
        }
    }

    private static void count(AtomicLong progress) throws InterruptedException {
        while (true) {
            synchronized (MONITOR) {
                ++counted;
                MONITOR.notifyAll();
                MONITOR.wait(5);
            }
            progress.incrementAndGet();
        }
    }

    private static void sleep(AtomicLong progress) throws InterruptedException {
        while (true) {
            Thread.sleep(2);
            progress.incrementAndGet();
        }
    }

    private static void answer(ServerSocket server) throws IOException {
        while (true) {
            try (Socket socket = server.accept()) {
                socket.getOutputStream().write(socket.getInputStream().read());
            } catch (IOException cut) {
                // A connection that was being made belongs to the master.
            }
        }
    }

    private static void ask(int port, AtomicLong progress) throws InterruptedException {
        while (true) {
            try (Socket socket = new Socket()) {
                socket.connect(new InetSocketAddress(Family.GUEST.myIp(), port), 10_000);
                socket.getOutputStream().write(7);
                socket.getInputStream().read();
            } catch (IOException cut) {
                Thread.sleep(1);
            }
            progress.incrementAndGet();
        }
    }
}

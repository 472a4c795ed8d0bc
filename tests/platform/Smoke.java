import ca.gridcentric.guest.API;
import ca.gridcentric.guest.Domain;
import ca.gridcentric.guest.Result;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicLong;

/**
 * A Java program that clones itself into three, with what Java programs have: threads, monitors, a server, garbage, random numbers. See
 * README.md. It must not know what runs it.
 */
public final class Smoke {
    private static final int CLONES = 3;
    private static final API GUEST = new API();
    private static final AtomicLong TICKS = new AtomicLong(), TURNS = new AtomicLong(), GARBAGE = new AtomicLong();
    private static final Object MONITOR = new Object();
    private static int passed;

    public static void main(String[] args) throws Exception {
        long pid = ProcessHandle.current().pid();
        List<Integer> handled = new ArrayList<>();
        GUEST.onClone(handled::add);
        ServerSocket server = new ServerSocket(0, 50, InetAddress.getByName("0.0.0.0"));
        start(() -> answer(server));
        start(Smoke::tick);
        start(Smoke::takeTurns);
        start(Smoke::takeTurns);
        start(Smoke::litter);
        goOn();
        draw();
        boolean samePid = true;
        for (int round = 0; round < 3; ++round) {
            API.Uuid ticket = GUEST.requestTicket(CLONES, CLONES, 1, 10_000);
            int vmid = GUEST.clone(ticket);
            goOn();
            if (vmid > 0) {
                System.gc();
                GUEST.sync(); // the master has asked this one
                boolean same = ProcessHandle.current().pid() == pid;
                GUEST.join(String.join(" ", "" + handled.get(handled.size() - 1), GUEST.myIp(), "" + GUEST.isMaster(), "" + same, draw()));
            }
            List<Domain> domains = GUEST.listDomains().stream().filter(one -> one.ticket().equals(ticket) && one.vmid() > 0).toList();
            for (Domain one : domains) equal(ask(one.ip(), server.getLocalPort()), "" + one.vmid(), "what " + one.ip() + " answers");
            equal(ask("127.0.0.1", server.getLocalPort()), "0", "what the master answers");
            ok("servers on addresses of their own");
            GUEST.sync(ticket, 60_000);
            List<String> drawn = new ArrayList<>(List.of(draw().split(" ")));
            for (Result end : GUEST.waitFor(ticket, 60_000)) {
                equal(end.how(), Result.End.JOINED, "how it ended");
                List<String> words = List.of(end.reportText().split(" "));
                equal(words.subList(0, 3), List.of("" + end.vmid(), domains.get(end.vmid() - domains.get(0).vmid()).ip(), "false"), "who a clone is");
                samePid = Boolean.parseBoolean(words.get(3));
                drawn.addAll(words.subList(4, words.size()));
            }
            ok("barrier, join and wait, identity and handlers");
            equal(new HashSet<>(drawn).size(), drawn.size(), "different random numbers");
            ok("random numbers");
            goOn();
            ok("threads, monitors and garbage");
        }
        System.out.println("mode " + (samePid ? "pidns" : "plain"));
        System.out.println(passed + " passed");
        System.exit(0);
    }

    private static String draw() {
        return String.join(" ", "" + new SecureRandom().nextLong(), "" + UUID.randomUUID(), "" + Math.random(),
                "" + ThreadLocalRandom.current().nextLong());
    }

    private static void ok(String what) {
        ++passed;
        System.out.println("ok " + what);
    }

    private static void equal(Object found, Object expected, String what) {
        if (!expected.equals(found)) throw new AssertionError(what + ": " + found + ", expected " + expected);
    }

    /** Every thread goes on from here. */
    private static void goOn() throws InterruptedException {
        for (AtomicLong each : List.of(TICKS, TURNS, GARBAGE))
            for (long before = each.get(); each.get() < before + 3; ) Thread.sleep(1);
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
                System.exit(1);
            }
        });
        thread.setDaemon(true);
        thread.start();
    }

    private static void tick() throws InterruptedException {
        for (;; TICKS.incrementAndGet()) Thread.sleep(5);
    }

    private static void takeTurns() throws InterruptedException {
        while (true) {
            synchronized (MONITOR) {
                TURNS.incrementAndGet();
                MONITOR.notifyAll();
                MONITOR.wait(5);
            }
        }
    }

    private static void litter() throws InterruptedException {
        List<byte[]> some = new ArrayList<>();
        for (;; GARBAGE.incrementAndGet()) {
            some.add(new byte[100_000]);
            if (some.size() == 100) some.clear();
            Thread.sleep(1);
        }
    }

    private static void answer(ServerSocket server) throws IOException {
        while (true) {
            try (Socket socket = server.accept()) {
                socket.getOutputStream().write((GUEST.vmid() + "\n").getBytes());
            }
        }
    }

    private static String ask(String ip, int port) throws IOException {
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress(ip, port), 60_000);
            return new BufferedReader(new InputStreamReader(socket.getInputStream())).readLine();
        }
    }
}

// The adapter for Java: each call is made in a thread, which `cancel` interrupts.
// Reads calls as JSON lines and writes replies as JSON lines, on stdin and stdout or on the channel that README.md describes. It must not
// know what a call means. The lines have one form (keys in order, no spaces, texts without escapes), so this is no JSON parser.
import ca.gridcentric.guest.API;
import ca.gridcentric.guest.CloneFailedException;
import ca.gridcentric.guest.Domain;
import ca.gridcentric.guest.GridcentricException;
import ca.gridcentric.guest.TicketInfo;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

public final class Adapter {
    private static final Pattern STEP = Pattern.compile("\\{\"id\":(\\d+),\"call\":\"([a-z_]+)\",\"args\":\\[(.*)\\]\\}");
    private static final Pattern ARGUMENT = Pattern.compile("\"([^\"]*)\"|(null)|(-?\\d+)");

    private static final API API_ = new API();
    private static final Map<Integer, Thread> OPEN = new HashMap<>(); // calls, by their id
    private static final AtomicInteger PREPARED = new AtomicInteger(); // how often a handler of beforeClone() has run

    // Where calls come from and replies go to. Where clones are real each domain has its own connection: that of the master is at
    // its end in a clone.
    private static final Object OUTPUT = new Object();
    private static InputStream in = System.in;
    private static OutputStream out = System.out;
    private static int domain = -1; // whose connection it is; -1: of one that has not attached yet

    public static void main(String[] args) throws IOException {
        String channel = System.getenv("CONFORMANCE_CHANNEL");
        if (channel != null) connect(channel);
        for (InputStream from = null; from != in; ) { // the end of the input in a clone is that of its master's
            from = in;
            read(from);
            own();
        }
        System.exit(0);
    }

    private static void connect(String path) throws IOException {
        SocketChannel socket = SocketChannel.open(StandardProtocolFamily.UNIX);
        socket.connect(UnixDomainSocketAddress.of(path));
        in = Channels.newInputStream(socket);
        // A stream of a channel has one lock for both directions, so that a reader would keep the writer out.
        out = new OutputStream() {
            @Override
            public void write(int one) throws IOException {
                write(new byte[] {(byte) one}, 0, 1);
            }

            @Override
            public void write(byte[] bytes, int from, int count) throws IOException {
                var buffer = java.nio.ByteBuffer.wrap(bytes, from, count);
                while (buffer.hasRemaining()) socket.write(buffer);
            }
        };
        out.write(("{\"id\":0,\"ok\":" + domain + "}\n").getBytes(StandardCharsets.UTF_8));
    }

    /** In a clone, who comes first opens the clone's own. */
    private static void own() throws IOException {
        synchronized (OUTPUT) {
            String channel = System.getenv("CONFORMANCE_CHANNEL");
            if (channel == null || domain < 0 || API_.vmid() == domain) return;
            domain = API_.vmid();
            connect(channel);
        }
    }

    private static void read(InputStream from) throws IOException {
        String first = System.getenv("ADAPTER_FIRST"); // which java.sh has read already
        if (first != null) begin(first);
        BufferedReader lines = new BufferedReader(new InputStreamReader(from, StandardCharsets.UTF_8));
        for (String line; (line = next(lines)) != null; ) begin(line);
    }

    private static void begin(String line) throws IOException {
        Matcher step = STEP.matcher(line);
        if (!step.matches()) throw new IOException("not a call: " + line);
        int id = Integer.parseInt(step.group(1));
        String call = step.group(2);
        List<Object> args = new ArrayList<>();
        for (Matcher arg = ARGUMENT.matcher(step.group(3)); arg.find(); )
            args.add(arg.group(1) != null ? arg.group(1) : arg.group(3) != null ? Integer.valueOf(arg.group(3)) : null);
        if (call.equals("crash")) throw new IllegalStateException("told to crash");
        Thread thread = new Thread(() -> answer(id, call, args));
        thread.setDaemon(true);
        synchronized (OPEN) {
            OPEN.put(id, thread);
        }
        thread.start();
    }

    private static String next(BufferedReader lines) {
        try {
            return lines.readLine();
        } catch (IOException reset) { // the runner has gone
            return null;
        }
    }

    private static void answer(int id, String call, List<Object> args) {
        String reply;
        try {
            reply = "\"ok\":" + json(make(call, args));
        } catch (GridcentricException error) {
            reply = "\"error\":\"" + error.code() + "\",\"text\":" + json(error.getMessage());
        } catch (Throwable error) {
            reply = "\"error\":\"unexpected_" + error.getClass().getSimpleName().toLowerCase() + "\",\"text\":" + json(String.valueOf(error));
        }
        synchronized (OPEN) {
            OPEN.remove(id);
        }
        Thread.interrupted(); // an interrupted thread's write would close the channel
        try {
            synchronized (OUTPUT) {
                own();
                out.write(("{\"id\":" + id + "," + reply + "}\n").getBytes(StandardCharsets.UTF_8));
                out.flush();
            }
        } catch (IOException gone) {
            // What is answered while being cloned goes nowhere in the clone.
        }
    }

    private static API.Uuid ticket(Object text) {
        return text == null ? null : API.Uuid.fromString((String) text);
    }

    private static int number(Object number) {
        return (Integer) number;
    }

    private static Object make(String call, List<Object> args) {
        switch (call) {
            case "attach": // java.sh has set GRIDCENTRIC_ATTACH
                return domain = API_.vmid();
            case "vmid":
                return API_.vmid();
            case "ismaster":
                return API_.isMaster();
            case "my_ip":
                return API_.myIp();
            case "request_ticket":
                return API_.requestTicket(number(args.get(0)), number(args.get(1)), number(args.get(2)), number(args.get(3))).toString();
            case "ticket_info":
                return row(API_.ticketInfo(ticket(args.get(0))));
            case "list_tickets":
                return API_.listTickets().stream().map(Adapter::row).toList();
            case "list_domains":
                return rows(API_.listDomains());
            case "clone_of":
                return rows(API_.cloneOf(number(args.get(0)), ticket(args.get(1))));
            case "serve":
                API_.serve();
                return null;
            case "clone":
                return API_.clone(ticket(args.get(0)));
            case "release_ticket":
                API_.releaseTicket(ticket(args.get(0)));
                return null;
            case "prepare":
                return API_.prepare(number(args.get(0)));
            case "kill":
                API_.kill(number(args.get(0)));
                return null;
            case "sync":
                if (args.get(0) == null) API_.sync(number(args.get(1)));
                else API_.sync(ticket(args.get(0)), number(args.get(1)));
                return null;
            case "join":
                API_.join(Base64.getDecoder().decode((String) args.get(0)));
                return null;
            case "noreport":
                API_.joinNoReport();
                return null;
            case "wait":
                return results(API_.waitFor(ticket(args.get(0)), number(args.get(1))));
            case "wait_forget":
                return results(API_.waitForAndForget(ticket(args.get(0)), number(args.get(1))));
            case "exit":
                System.exit(number(args.get(0)));
                return null;
            case "refuse":
                AtomicInteger left = new AtomicInteger(number(args.get(0)));
                API_.beforeClone(() -> {
                    PREPARED.incrementAndGet();
                    if (left.getAndDecrement() > 0) throw new CloneFailedException("refused");
                });
                return null;
            case "prepared":
                return PREPARED.get();
            case "cancel":
                synchronized (OPEN) {
                    OPEN.get(number(args.get(0))).interrupt();
                }
                return null;
            default:
                throw new IllegalArgumentException("unknown call " + call);
        }
    }

    private static List<Object> row(Object... values) {
        return new ArrayList<>(java.util.Arrays.asList(values)); // List.of() has no null
    }

    private static Object rows(List<Domain> domains) {
        return domains.stream()
                .map(d -> row(d.vmid(), d.parent() < 0 ? null : d.parent(), d.ip(), d.ticket().toString(), d.state()))
                .toList();
    }

    private static List<Object> row(TicketInfo ticket) {
        return row(ticket.id().toString(), ticket.status().toString(), ticket.cpus(), ticket.vms(), ticket.mincpuspervm());
    }

    private static Object results(List<ca.gridcentric.guest.Result> results) {
        return results.stream()
                .map(r -> row(r.vmid(), r.how().toString(), r.status(),
                        r.report() == null ? null : Base64.getEncoder().encodeToString(r.report())))
                .toList();
    }

    private static String json(Object value) {
        if (value instanceof List<?> list) return list.stream().map(Adapter::json).collect(Collectors.joining(",", "[", "]"));
        if (!(value instanceof String text)) return String.valueOf(value);
        StringBuilder made = new StringBuilder("\"");
        for (char each : text.toCharArray()) {
            if (each == '"' || each == '\\') made.append('\\').append(each);
            else if (each < 0x20) made.append(String.format("\\u%04x", (int) each));
            else made.append(each);
        }
        return made.append('"').toString();
    }
}

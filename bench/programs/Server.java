// The Java server that is cloned and measured; the same arguments and requests as server.js, but 200,000 strings if none are given.
import ca.gridcentric.guest.API;
import ca.gridcentric.guest.Domain;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;

public final class Server {
    private static final API GUEST = new API();
    private static final String STATE = "state-" + ProcessHandle.current().pid();
    private static final List<String> HEAP = new ArrayList<>();
    private static final List<API.Uuid> TICKETS = new ArrayList<>();
    private static final AtomicInteger REQUESTS = new AtomicInteger();

    public static void main(String[] args) throws IOException {
        int objects = args.length > 1 ? Integer.parseInt(args[1]) : 200_000;
        for (int at = 0; at < objects; ++at) HEAP.add("entry " + at);
        System.setProperty("sun.net.httpserver.nodelay", "true");  // else each answer on a kept connection takes 40 ms
        HttpServer server = HttpServer.create(new InetSocketAddress("0.0.0.0", 0), 128);
        server.createContext("/", Server::answer);
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.start();
        System.out.println("ready " + server.getAddress().getPort());
    }

    private static void answer(HttpExchange exchange) throws IOException {
        String said;
        try {
            said = "{" + answerTo(exchange) + "}";
        } catch (RuntimeException failure) {
            said = "{\"error\":\"" + failure.getMessage() + "\"}";
        }
        exchange.sendResponseHeaders(200, said.length());
        exchange.getResponseBody().write(said.getBytes());
        exchange.close();
    }

    private static String answerTo(HttpExchange exchange) {
        switch (exchange.getRequestURI().getPath()) {
            case "/clone":
                return clone(Integer.parseInt(exchange.getRequestURI().getQuery().substring("n=".length())));
            case "/tidy":
                System.gc();
                return "\"collected\":true";
            case "/end":
                long begin = System.nanoTime();
                for (Domain domain : GUEST.listDomains()) if (domain.vmid() > 0) GUEST.kill(domain.vmid());
                for (API.Uuid ticket : TICKETS) GUEST.waitFor(ticket, -1);
                TICKETS.clear();
                return "\"ms\":" + (System.nanoTime() - begin) / 1e6;
            default:
                String entry = HEAP.get((int) (REQUESTS.incrementAndGet() * 7919L % HEAP.size()));
                return String.format("\"vmid\":%d,\"ip\":\"%s\",\"state\":\"%s\",\"heap\":%d,\"entry\":\"%s\"",
                        GUEST.vmid(), GUEST.myIp(), STATE, HEAP.size(), entry);
        }
    }

    private static String clone(int count) {
        long asked = System.nanoTime();
        API.Uuid ticket = GUEST.requestTicket(count, count, 1, 0);
        long granted = System.nanoTime();
        int vmid = GUEST.clone(ticket);
        double took = (System.nanoTime() - granted) / 1e6;
        if (vmid != 0) return "";  // nobody is connected to a clone
        TICKETS.add(ticket);
        String clones = GUEST.listDomains().stream()
                .filter(domain -> domain.vmid() > 0)
                .map(domain -> "{\"vmid\":" + domain.vmid() + ",\"ip\":\"" + domain.ip() + "\"}")
                .collect(Collectors.joining(","));
        return "\"vmid\":0,\"ticket_ms\":" + (granted - asked) / 1e6 + ",\"clone_ms\":" + took + ",\"clones\":[" + clones + "]";
    }
}

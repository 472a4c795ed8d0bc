import ca.gridcentric.guest.API;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * A server that gc scale clones as users come. With API in it, each clone has its own random numbers and pid.
 *
 * gc scale --listen 8080 --app 8081 --per-clone 2 -- java -cp gridcentric.jar demos/scale-java/Server.java 8081
 */
public final class Server {
    private Server() {}

    public static void main(String[] arguments) throws IOException {
        API api = new API();
        AtomicInteger visits = new AtomicInteger();
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 0);
        server.createContext("/", exchange -> {
            String text = "clone " + api.vmid() + ", visit " + visits.incrementAndGet() + ", number " + UUID.randomUUID() + "\n";
            byte[] page = text.getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, page.length);
            exchange.getResponseBody().write(page);
            exchange.close();
        });
        server.start();
    }
}

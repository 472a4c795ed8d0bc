import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.concurrent.Executors;

/**
 * Servers answer on the clone's own address, with the clone's state: an HttpServer with its dispatcher (a Selector), and a Selector of the
 * program's own, which is woken up. Clients' pools: java.net.http and HttpURLConnection, whose idle connections lead into this JVM.
 */
public final class Network {
    public static void main(String[] args) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress("0.0.0.0", 0), 0);
        server.createContext("/", exchange -> {
            byte[] answer = ("vmid " + Family.GUEST.vmid()).getBytes();
            exchange.sendResponseHeaders(200, answer.length);
            exchange.getResponseBody().write(answer);
            exchange.close();
        });
        server.setExecutor(Executors.newFixedThreadPool(2));
        server.start();
        int port = server.getAddress().getPort();
        HttpClient client = HttpClient.newHttpClient();
        Family.checkEqual(get(client, "127.0.0.1", port), "vmid 0", "the master's answer");
        Family.checkEqual(get("127.0.0.1", port), "vmid 0", "the master's answer");

        Selector selector = Selector.open();
        int echo = startEcho(selector);

        Family.clones(3, () -> {
            String own = Family.GUEST.myIp(), expected = "vmid " + Family.GUEST.vmid();
            Family.checkEqual(get(client, own, port), expected, "HttpClient to the clone itself");
            Family.checkEqual(get(own, port), expected, "HttpURLConnection to the clone itself");
            // Idle connections of the pools had both ends in the master: they are this clone's own now; new ones go to the master.
            String answer = get(client, "127.0.0.1", port);
            Family.check(answer.startsWith("vmid "), answer);
            for (int round = 0; round < 20; ++round) {
                selector.wakeup();
                try (SocketChannel channel = SocketChannel.open(new InetSocketAddress(own, echo))) {
                    channel.write(ByteBuffer.wrap("hello".getBytes()));
                    ByteBuffer back = ByteBuffer.allocate(5);
                    while (back.hasRemaining() && channel.read(back) >= 0) {}
                    Family.checkEqual(new String(back.array()), "hello", "the echo");
                }
            }
            return "";
        });
        Family.checkEqual(get(client, "127.0.0.1", port), "vmid 0", "the master's answer afterwards");
        System.exit(0);
    }

    private static int startEcho(Selector selector) throws IOException {
        ServerSocketChannel listener = ServerSocketChannel.open().bind(new InetSocketAddress("0.0.0.0", 0));
        listener.configureBlocking(false);
        listener.register(selector, SelectionKey.OP_ACCEPT);
        Thread thread = new Thread(() -> {
            ByteBuffer buffer = ByteBuffer.allocateDirect(1000);
            while (true) {
                try {
                    selector.select(10_000);
                    for (SelectionKey key : selector.selectedKeys()) {
                        if (key.isAcceptable()) {
                            SocketChannel accepted = listener.accept();
                            if (accepted == null) continue;
                            accepted.configureBlocking(false);
                            accepted.register(selector, SelectionKey.OP_READ);
                        } else if (((SocketChannel) key.channel()).read(buffer.clear()) < 0) {
                            key.channel().close();
                        } else {
                            ((SocketChannel) key.channel()).write(buffer.flip());
                        }
                    }
                    selector.selectedKeys().clear();
                } catch (IOException closed) {
                    throw new AssertionError(closed);
                }
            }
        });
        thread.setDaemon(true);
        thread.start();
        return ((InetSocketAddress) listener.getLocalAddress()).getPort();
    }

    private static String get(HttpClient client, String ip, int port) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create("http://" + ip + ":" + port + "/")).build();
        return client.send(request, HttpResponse.BodyHandlers.ofString()).body();
    }

    private static String get(String ip, int port) throws Exception {
        HttpURLConnection connection = (HttpURLConnection) URI.create("http://" + ip + ":" + port + "/").toURL().openConnection();
        try (var in = connection.getInputStream()) {
            return new String(in.readAllBytes());
        }
    }
}

// Keeps notes in memory: GET /WORD adds one and answers with all of them. PORT is the first argument.
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.Executors;

public class Notes {
    public static void main(String[] arguments) throws Exception {
        List<String> notes = new CopyOnWriteArrayList<>();
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 16);
        server.createContext("/", exchange -> {
            String word = exchange.getRequestURI().getPath().substring(1);
            if (!word.isEmpty()) notes.add(word);
            byte[] body = String.join(" ", notes).getBytes();
            exchange.sendResponseHeaders(200, body.length == 0 ? -1 : body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.start();
    }
}

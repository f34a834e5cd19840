import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;

/** Run as `java Web.java`. */
public class Web {
    public static void main(String[] arguments) throws Exception {
        String who = System.getenv().getOrDefault("WHO", "-");
        byte[] body = (who + " " + ProcessHandle.current().pid() + "\n").getBytes();
        HttpServer server = HttpServer.create(new InetSocketAddress(8081), 128);
        server.createContext("/", exchange -> {
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
    }
}

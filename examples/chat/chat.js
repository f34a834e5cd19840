// What one says, all hear: by WebSocket (/chat), by server-sent events (/events), and GET / is the page.
const fs = require("fs");
const http = require("http");
const path = require("path");
const { WebSocketServer } = require("ws");

const page = fs.readFileSync(path.join(__dirname, "page.html"));
const listeners = new Set(); // responses of /events

const server = http.createServer((request, response) => {
  if (request.url === "/healthz") return response.end("well\n");
  if (request.url === "/events") {
    response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
    response.write("retry: 1000\n\n");
    listeners.add(response);
    return response.on("close", () => listeners.delete(response));
  }
  response.writeHead(200, { "Content-Type": "text/html; charset=utf-8" }).end(page);
});

const chat = new WebSocketServer({ server, path: "/chat", maxPayload: 64 * 1024 });
chat.on("connection", (client, request) => {
  client.send(`hello, ${request.headers["x-forwarded-proto"]}`);
  client.on("error", () => client.terminate());
  client.on("message", text => {
    chat.clients.forEach(other => other.send(text.toString()));
    listeners.forEach(listener => listener.write(`data: ${text.toString().replace(/\n/g, "\ndata: ")}\n\n`));
  });
});

server.listen(3001, () => console.log("chat listens on port 3001"));
process.on("SIGTERM", () => {
  chat.clients.forEach(client => client.close(1012));
  listeners.forEach(listener => listener.end());
  server.close(() => process.exit(0));
});

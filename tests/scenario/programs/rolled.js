// A web server on port 3000 (PORT) that ends as a good one does: told to stop, it goes on with what it
// has, says `Connection: close`, and is gone with its last connection. GET and POST of /whoami;
// /download lasts SECONDS (1); /eat takes memory until it is killed; WebSockets echo. BEHAVE says how it
// is not good: "exits" at once, is "ill" (its /healthz says so), "errs" (every answer is 500), "silent"
// (it never listens).
const http = require("http");
const net = require("net");
const { WebSocketServer } = require("ws");
const who = process.env.WHO || "-";
const behave = process.env.BEHAVE || "";
let stopping = false;

if (behave === "exits") {
  console.log("this version does not work");
  process.exit(3);
}

function download(response) {
  let left = 50;
  response.writeHead(200, { "Content-Length": left * 4096 });
  const pace = setInterval(() => {
    response.write(Buffer.alloc(4096, 120));
    if (--left > 0) return;
    clearInterval(pace);
    response.end();
  }, 1000 * (process.env.SECONDS || 1) / 50);
}

function eat(eaten) {
  eaten.push(Buffer.alloc(8 << 20, 1));
  setImmediate(eat, eaten);
}

const server = http.createServer((request, response) => {
  if (stopping) response.setHeader("Connection", "close");
  request.resume().on("end", () => {
    if (request.url === "/healthz") response.writeHead(behave === "ill" ? 503 : 200).end("\n");
    else if (behave === "errs") response.writeHead(500).end("wrong\n");
    else if (request.url === "/download") download(response);
    else if (request.url === "/eat") eat([]);
    else response.end(`${who} ${process.pid}\n`);
  });
});
server.keepAliveTimeout = 60000; // clients close first
const sockets = new WebSocketServer({ server });
sockets.on("connection", (socket) => socket.on("message", (data, binary) => socket.send(data, { binary })));
process.on("SIGTERM", () => {
  stopping = true;
  // http's own close would cut idle connections, on which the next request may be under way.
  net.Server.prototype.close.call(server, () => process.exit(0));
});
if (behave === "silent") setInterval(() => {}, 1000);
else server.listen({ port: process.env.PORT || 3000, backlog: 1024 });

// node's own cluster module: a primary with two workers, which share port 3001.
const cluster = require("cluster");
const http = require("http");
const who = process.env.WHO || "-";

if (cluster.isPrimary) {
  cluster.fork();
  cluster.fork();
  process.on("SIGTERM", () => process.exit(0));
} else {
  http.createServer((request, response) => response.end(`${who} ${process.pid}\n`)).listen(3001);
}

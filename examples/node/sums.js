// Node's own cluster module: a primary process whose two workers share port 3000.
const cluster = require("cluster");
const http = require("http");

if (cluster.isPrimary) {
  cluster.fork();
  cluster.fork();
  cluster.on("exit", worker => worker.exitedAfterDisconnect || cluster.fork());
  process.on("SIGTERM", () => cluster.disconnect(() => process.exit(0)));
} else {
  http.createServer((request, response) => {
    const last = Math.min(Number(/^\/sum\/(\d+)$/.exec(request.url)?.[1] || 0), 1e6);
    let sum = 0;
    for (let number = 1; number <= last; number++) sum += number;
    response.end(`${process.env.ENGINX_NUMBER} ${process.pid} ${sum}\n`);
  }).listen(3000);
  process.on("SIGTERM", () => {}); // the primary decides
}

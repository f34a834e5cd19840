// A site of one page that knows only port 3000.
const fs = require("fs");
const http = require("http");
const path = require("path");

const version = process.env.VERSION || "?";
const page = fs.readFileSync(path.join(__dirname, "page.html"), "utf8");

const server = http.createServer((request, response) => {
  if (request.url === "/healthz") {
    response.end("well\n");
  } else if (request.url === "/version") {
    response.setHeader("Cache-Control", "no-store");
    response.end(`version ${version}, process ${process.pid}\n`);
  } else {
    response.setHeader("Content-Type", "text/html; charset=utf-8");
    response.end(page.replaceAll("VERSION", version));
  }
});
server.listen(3000, () => console.log(`version ${version} listens on port 3000`));
process.on("SIGTERM", () => server.close(() => process.exit(0)));

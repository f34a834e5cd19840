// A web program that knows only port 3000.
const fs = require("fs");
const http = require("http");
const path = require("path");

const who = `node instance ${process.env.INSTANCE || "?"}, process ${process.pid}`;
const page = fs.readFileSync(path.join(__dirname, "page.html"), "utf8");

http.createServer((request, response) => {
  if (request.url === "/whoami") {
    response.setHeader("Connection", "close"); // a connection per request shows the balance best
    response.setHeader("Cache-Control", "no-store");
    response.end(who + "\n");
  } else {
    response.setHeader("Content-Type", "text/html; charset=utf-8");
    response.end(page.replaceAll("WHO", who));
  }
}).listen(3000, () => console.log(`${who} listens on port 3000`));

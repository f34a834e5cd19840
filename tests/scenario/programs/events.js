// On port 8200: /events counts, an event every 20 ms; everything else is answered with "WHO PID".
const http = require("http");
const who = process.env.WHO || "-";

http.createServer((request, response) => {
  if (request.url !== "/events") return response.end(`${who} ${process.pid}\n`);
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
  let number = 0;
  const timer = setInterval(() => response.write(`data: ${number++}\n\n`), 20);
  response.on("close", () => clearInterval(timer));
}).listen(8200, () => console.log(`events ${who} listens on 8200`));

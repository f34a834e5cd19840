// A web server on port 3000 whose mood is in the file that MOOD names: "well" answers 200, "failing"
// 500, "hanging" never, "cutting" ends the connection. Each request appends a line to the file ASKED.
const fs = require("fs");
const http = require("http");
const who = process.env.WHO || "-";

http.createServer((request, response) => {
  const mood = fs.readFileSync(process.env.MOOD, "utf8").trim();
  fs.appendFileSync(process.env.ASKED, `${mood} ${request.url}\n`);
  if (mood === "hanging")
    return;
  if (mood === "cutting") {
    request.socket.destroy();
    return;
  }
  response.writeHead(mood === "failing" ? 500 : 200);
  response.end(`${who} ${process.pid}\n`);
}).listen(3000);

// A web server that knows only port 3000.
const http = require("http");
const who = process.env.WHO || "-";

http.createServer((request, response) => {
  response.end(`${who} ${process.pid}\n`);
}).listen(3000, () => console.log(`web ${who} listens on 3000`));

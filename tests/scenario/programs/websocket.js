// WebSockets on port 8100, by the ws of npm: "who" is answered with "WHO PID", everything else comes
// back as it is. Plain requests get 426.
const { WebSocketServer } = require("ws");
const who = process.env.WHO || "-";

const server = new WebSocketServer({ port: 8100, host: "0.0.0.0", backlog: 4096 }, () =>
  console.log(`websocket ${who} listens on 8100`));
server.on("connection", (socket) => {
  socket.on("message", (data, binary) => {
    if (!binary && data.toString() === "who") socket.send(`${who} ${process.pid}`);
    else if (!binary && data.toString() === "die") process.exit(1);
    else socket.send(data, { binary });
  });
});

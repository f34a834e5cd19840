// A chat: what one says, all hear, whichever instance they are with (Redis carries it between them).
const redis = require("redis");
const { WebSocketServer } = require("ws");

const instance = process.env.ENGINX_NUMBER;
const speaking = redis.createClient({ url: "redis://127.0.0.1:6379" });
const hearing = speaking.duplicate();
for (const client of [speaking, hearing]) client.on("error", error => console.error(`redis: ${error.message}`));

async function main() {
  await Promise.all([speaking.connect(), hearing.connect()]);
  const server = new WebSocketServer({ port: 3001, maxPayload: 64 * 1024 });
  await hearing.subscribe("chat", text => server.clients.forEach(client => client.send(text)));
  server.on("connection", client => {
    client.send(`you are with instance ${instance}`);
    client.on("message", text => speaking.publish("chat", text.toString()));
    client.on("error", () => client.terminate());
  });
  console.log(`chat ${instance} listens on port 3001`);
  process.on("SIGTERM", () => {
    server.clients.forEach(client => client.close(1012));
    server.close(() => process.exit(0));
  });
}
main();

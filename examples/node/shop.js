// A shop of one article. What is in somebody's basket is kept in Redis, so any instance may answer.
const crypto = require("crypto");
const express = require("express");
const redis = require("redis");

const instance = process.env.ENGINX_NUMBER;
const store = redis.createClient({ url: "redis://127.0.0.1:6379" });
const orders = store.duplicate();
for (const client of [store, orders]) client.on("error", error => console.error(`redis: ${error.message}`));
const listeners = new Set();

// request.session is what was kept under the cookie; changes are kept before the answer is sent.
async function sessions(request, response, next) {
  try {
    let id = /(?:^|; )session=([0-9a-f]{32})/.exec(request.headers.cookie || "")?.[1];
    if (!id) {
      id = crypto.randomBytes(16).toString("hex");
      response.cookie("session", id, { httpOnly: true, sameSite: "lax" });
    }
    request.session = JSON.parse(await store.get(`session:${id}`) || "{}");
    request.keep = () => store.set(`session:${id}`, JSON.stringify(request.session), { EX: 86400 });
    next();
  } catch (error) {
    next(error);
  }
}

const shop = express();
shop.set("trust proxy", true); // the gateway says who the client is
shop.get("/healthz", (request, response) =>
  response.status(store.isReady && orders.isReady ? 200 : 503).send("\n"));
shop.get("/whoami", (request, response) => response.send(`${instance} ${process.pid}\n`));
shop.get("/", (request, response) => response.sendFile(`${__dirname}/public/page.html`));
shop.get("/basket", sessions, (request, response) =>
  response.json({ instance, client: request.ip, apples: request.session.apples || 0 }));
shop.post("/basket", sessions, async (request, response, next) => {
  try {
    request.session.apples = (request.session.apples || 0) + 1;
    await request.keep();
    await store.publish("orders", `an apple for ${request.ip}`);
    response.json({ instance, client: request.ip, apples: request.session.apples });
  } catch (error) {
    next(error);
  }
});
shop.get("/events", (request, response) => {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
  response.write(": welcome\n\n");
  listeners.add(response);
  response.on("close", () => listeners.delete(response));
});

async function main() {
  await Promise.all([store.connect(), orders.connect()]);
  await orders.subscribe("orders", text => listeners.forEach(one => one.write(`data: ${text}\n\n`)));
  const server = shop.listen(3000, () => console.log(`shop ${instance} listens on port 3000`));
  process.on("SIGTERM", () => {
    listeners.forEach(one => one.end());
    server.close(() => process.exit(0));
  });
}
main();

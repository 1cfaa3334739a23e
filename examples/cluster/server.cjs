// The same server as server.py, with the stock Socket.IO in Node: run.py starts it where npm has installed that.
//
//   NAME=node PORT=8089 REDIS=redis://127.0.0.1:6379 node examples/cluster/server.cjs

const { readFileSync } = require("node:fs");
const { createServer } = require("node:http");
const { join } = require("node:path");
const { createAdapter } = require("@socket.io/redis-streams-adapter");
const { createClient } = require("redis");
const { Server } = require("socket.io");

const NAME = process.env.NAME ?? "node";
const REDIS = process.env.REDIS ?? "redis://127.0.0.1:6379";
const PERIOD = 1000; // milliseconds from one beat to the next
const ME = { name: NAME, runtime: "Node", pid: process.pid };

// --- the page --------------------------------------------------------------------------------------------------------

const PAGE = { "/": "index.html", "/page/main.js": "main.js", "/page/style.css": "style.css" };
const TYPES = { html: "text/html; charset=utf-8", js: "text/javascript; charset=utf-8", css: "text/css; charset=utf-8" };

const http = createServer((request, response) => {
  const file = PAGE[request.url.split("?")[0]];
  if (!file) return response.writeHead(404).end();
  const text = readFileSync(join(__dirname, "page", file), "utf8").replace("https://cdn.socket.io/4.8.3/", "/socket.io/");
  response.writeHead(200, { "Content-Type": TYPES[file.split(".")[1]] }).end(text);
});

// --- what the server does --------------------------------------------------------------------------------------------

const fits = (value, least, most) => typeof value === "string" && value.trim().length >= least && value.length <= most;

async function main() {
  const redis = createClient(REDIS.startsWith("unix://") ? { socket: { path: REDIS.slice(7) } } : { url: REDIS });
  redis.on("error", (error) => console.error(`${NAME}: ${error.message}`));
  await redis.connect();

  const io = new Server(http, {
    adapter: createAdapter(redis),
    connectionStateRecovery: { maxDisconnectionDuration: 120_000 },
  });

  io.on("connection", (socket) => {
    socket.emit("welcome", ME);
    socket.on("say", (data, ack) => {
      if (typeof ack !== "function") return;
      const { key, name, text } = data ?? {};
      if (!fits(key, 8, 64) || !fits(name, 1, 24) || !fits(text, 1, 500)) return ack({ error: { message: "does not fit" } });
      io.emit("said", { key, name, text, server: NAME });
      ack("ok");
    });
  });

  let number = 1;
  setInterval(() => io.emit("beat", { server: ME, number: number++, clients: io.of("/").sockets.size }), PERIOD);

  process.on("SIGTERM", async () => {
    await io.close();
    setTimeout(() => process.exit(0), 200); // the adapter writes the sessions and does not say when it has
  });

  http.listen(Number(process.env.PORT ?? 8089), "127.0.0.1");
}

main();

// A Socket.IO server of a cluster on Node, for benchmarks/cluster.py; cluster.py here is its twin.
//
//   node cluster.mjs node:streams|node:classic|node:sharded PORT REDIS_PORT FOLDER   (whose node_modules are used)

import { createServer } from "node:http";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [kind, port, redis, folder] = process.argv.slice(2);
const load = createRequire(folder + "/");
const { Server } = load("socket.io");
const { createClient } = load("redis");
const PAYLOAD = { text: "x".repeat(150), number: 1 };

async function connect() {
  const client = createClient({ url: `redis://127.0.0.1:${redis}` });
  client.on("error", () => {});
  await client.connect();
  return client;
}

async function makeAdapter() {
  if (kind === "node:streams") return load("@socket.io/redis-streams-adapter").createAdapter(await connect());
  const { createAdapter, createShardedAdapter } = load("@socket.io/redis-adapter");
  return (kind === "node:classic" ? createAdapter : createShardedAdapter)(await connect(), await connect());
}

const http = createServer();
const io = new Server(http, { adapter: await makeAdapter(), cleanupEmptyChildNamespaces: true });
io.of((name, auth, next) => next(null, name.startsWith("/dynamic")));
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const now = () => performance.now();
const select = (room) => (room === null ? io : io.to(room));

const commands = {
  async emit({ room, mode, size, count }) {
    let due = now();
    for (let sent = 0; sent < count; sent += size) {
      for (let at = 0; at < size; at++) select(room).emit("news", PAYLOAD);
      due = Math.max(due + 2, now() - 100);
      if (due > now()) await wait(due - now());
      else await new Promise(setImmediate);
    }
    return [];
  },
  async mark({ name }) {
    io.emit("mark", name);
  },
  async pace({ rate, seconds }) {
    const begun = now();
    for (let number = 0; number < rate * seconds; number++) {
      const due = begun + (number * 1000) / rate;
      if (due > now()) await wait(due - now());
      io.emit("time", Number(process.hrtime.bigint()) / 1e9);
    }
  },
  async cpu() {
    const { user, system } = process.cpuUsage();
    return user + system;
  },
  async gaps() {
    return 0;
  },
  async join({ room }) {
    await io.of("/").adapter.addAll("ghost", new Set(["ghost", room]));
  },
};

const send = (message) => process.stdout.write(JSON.stringify(message) + "\n");
http.listen(Number(port), "127.0.0.1", () => send({ ready: true }));
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  send({ value: (await commands[command.do](command)) ?? null });
}
process.exit(0);

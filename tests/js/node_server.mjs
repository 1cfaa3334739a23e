// One stock Socket.IO server of a cluster, driven over its standard streams (tests/support/cluster/driven.py lists the
// commands; python_server.py there is its twin). Ends with its standard input.
//
//   node node_server.mjs '{"adapter": "streams", "client": "redis", "url": "redis://…", "recovery": 120000, …}'
//
// One JSON object per line, both ways; values as in values.mjs.
//   in:   {"id": 7, "do": "emit", …}
//   out:  {"id": 7, "value": …} or {"id": 7, "error": {…}}; {"ready": {…}} once; {"unhandled": {…}} for a rejection that
//         nothing caught, which would end a program without a handler for them

import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Server } from "socket.io";
import { createAdapter as createStreams } from "@socket.io/redis-streams-adapter";
import { createAdapter as createClassic, createShardedAdapter } from "@socket.io/redis-adapter";
import { Emitter } from "@socket.io/redis-emitter";
import { Redis } from "ioredis";
import { createClient } from "redis";
import { describe, pack, unpack } from "./values.mjs";

const config = JSON.parse(process.argv[2]);
const name = config.name ?? "node";
const clients = [];
const log = [];

const now = Date.now;
if (config.clock) Date.now = () => now() + config.clock * 1000; // a machine whose clock is wrong: offsets are Redis' own
const floods = new Map();

function send(message) {
  process.stdout.write(JSON.stringify(message) + "\n");
}

process.on("unhandledRejection", (error) => send({ unhandled: describe(error) }));

async function connectRedis() {
  let client;
  if (config.client === "ioredis") {
    client = new Redis(config.url, { connectionName: name });
  } else {
    client = createClient({ url: config.url, name });
  }
  client.on("error", () => {});
  clients.push(client);
  if (config.client === "ioredis") {
    if (client.status !== "ready") await new Promise((done) => client.once("ready", done));
  } else {
    await client.connect();
  }
  return client;
}

async function makeAdapter() {
  const options = config.options ?? {};
  switch (config.adapter) {
    case "streams":
      return createStreams(await connectRedis(), options);
    case "classic":
      return createClassic(await connectRedis(), await connectRedis(), options);
    case "sharded":
      return createShardedAdapter(await connectRedis(), await connectRedis(), options);
    case "memory":
      return undefined;
  }
  throw new Error(`no adapter ${config.adapter}`);
}

// --- the program: what every server of a fleet does for its clients -----------------------------------------------

function serve(namespace) {
  const nsp = namespace.name;
  namespace.use((socket, next) => {
    if (socket.handshake.auth.token === "wrong") return next(new Error("forbidden"));
    next();
  });
  namespace.on("connection", (socket) => {
    const { rooms = [], data = {} } = socket.handshake.auth;
    if (!socket.recovered) {
      for (const room of rooms) socket.join(room);
      Object.assign(socket.data, data);
    }
    const { id: sid, recovered } = socket;
    log.push({ what: "connection", nsp, sid, recovered, data: pack(socket.data), rooms: [...socket.rooms].sort() });
    socket.on("disconnect", (reason) => log.push({ what: "disconnect", nsp, sid, reason }));
    socket.on("join", (room, ack) => (socket.join(room), ack("joined")));
    socket.on("leave", (room, ack) => (socket.leave(room), ack("left")));
    socket.on("echo", (...args) => args.pop()(...args));
    socket.on("data", (data, ack) => (Object.assign(socket.data, data), ack("kept")));
    socket.on("say", (rooms, event, ...args) => {
      const ack = args.pop();
      (rooms.length ? socket.to(rooms) : socket.broadcast).emit(event, ...args);
      ack("said");
    });
    socket.on("drop", () => socket.disconnect());
  });
  namespace.on("told", (...args) => log.push({ what: "told", nsp, args: args.map(pack) }));
  namespace.on("question", (...args) => {
    const ack = args.pop();
    log.push({ what: "question", nsp, args: args.map(pack) });
    if (args[0] !== "nobody") ack(name);
  });
}

const http = createServer((request, response) => response.writeHead(404).end());
const adapter = await makeAdapter();
const io = new Server(http, {
  ...(adapter ? { adapter } : {}),
  ...(config.recovery
    ? { connectionStateRecovery: { maxDisconnectionDuration: config.recovery, skipMiddlewares: true } }
    : {}),
  pingInterval: config.pingInterval ?? 25000,
  pingTimeout: config.pingTimeout ?? 20000,
});
for (const nsp of config.namespaces ?? ["/", "/chat"]) serve(io.of(nsp));
io.of(/^\/dynamic-\w+$/).on("connection", () => {});
io.on("new_namespace", (namespace) => namespace.name.startsWith("/dynamic-") && serve(namespace));

// --- commands -----------------------------------------------------------------------------------------------------

const SUBSCRIPTIONS = { streams: 2, classic: 4, sharded: 2 }; // of one namespace

// Waits until Redis has what the adapters have asked for but do not wait for: subscriptions, and the reader.
async function listening(namespaces) {
  if (config.adapter === "memory") return;
  for (;;) {
    const list = String(await (config.client === "ioredis" ? clients[0].client("LIST") : clients[0].sendCommand(["CLIENT", "LIST"])));
    const own = list.split("\n").filter((line) => line.includes(` name=${name} `));
    const count = own.reduce((sum, line) => sum + [...line.matchAll(/ (?:p|s)?sub=(\d+)/g)].reduce((n, [, each]) => n + Number(each), 0), 0);
    const reads = config.adapter !== "streams" || own.some((line) => line.includes(" cmd=xread "));
    if (reads && count >= namespaces * SUBSCRIPTIONS[config.adapter]) return;
    await new Promise((done) => setTimeout(done, 5));
  }
}

function operator({ nsp = "/", rooms = [], except = [], flags = {}, socket, timeout }) {
  const namespace = io.of(nsp);
  let found = socket ? namespace.sockets.get(socket).broadcast : namespace.in(rooms);
  if (socket && rooms.length) found = found.in(rooms);
  if (except.length) found = found.except(except);
  if (flags.volatile) found = found.volatile;
  if (flags.local) found = found.local;
  if (flags.compress !== undefined) found = found.compress(flags.compress);
  if (timeout !== undefined && timeout !== null) found = found.timeout(timeout);
  return found;
}

function outcome(emit) {
  return new Promise((done) => {
    emit((error, responses) => {
      done({ responses: pack(responses ?? error?.responses ?? []), complete: !error, error: error ? error.message : null });
    });
  });
}

async function makeEmitter() {
  return new Emitter(config.client === "ioredis" || config.adapter === "memory" ? await connectRedis() : clients[0]);
}

const commands = {
  emit: (command) => {
    const [event, ...args] = unpack(command.args);
    operator(command).emit(event, ...args);
  },
  emitWithAck: (command) => {
    const [event, ...args] = unpack(command.args);
    return outcome((done) => operator({ timeout: 5000, ...command }).emit(event, ...args, done));
  },
  fetchSockets: async (command) =>
    (await operator(command).fetchSockets()).map((socket) => ({
      id: socket.id,
      rooms: [...socket.rooms].sort(),
      data: pack(socket.data),
      auth: pack(socket.handshake.auth),
    })),
  socketsJoin: (command) => operator(command).socketsJoin(command.names),
  socketsLeave: (command) => operator(command).socketsLeave(command.names),
  disconnectSockets: (command) => operator(command).disconnectSockets(command.close ?? false),
  serverSideEmit: ({ nsp = "/", args }) => void io.of(nsp).serverSideEmit(...unpack(args)),
  serverSideEmitWithAck: ({ nsp = "/", args }) => outcome((done) => io.of(nsp).serverSideEmit(...unpack(args), done)),
  call: async (command) => {
    const [event, ...args] = unpack(command.args);
    const [remote] = await io.of(command.nsp ?? "/").in(command.sid).fetchSockets();
    if (!remote) throw new Error("there is no such socket");
    return pack(await remote.timeout(command.timeout ?? 5000).emitWithAck(event, ...args));
  },
  flood: ({ name: key, nsp = "/", rooms = [], event, first = 0, count, interval }) => {
    const flood = { times: [], done: false };
    floods.set(key, flood);
    let number = first;
    const one = () => {
      flood.times.push(now());
      io.of(nsp).in(rooms).emit(event, key, number, now());
      number += 1;
      if (number < first + count) return;
      flood.done = true;
      clearInterval(timer);
    };
    const timer = setInterval(one, interval);
  },
  flooded: ({ name: key }) => {
    const { times, done } = floods.get(key);
    return { times, done, raised: [] };
  },
  of: async ({ nsp }) => {
    serve(io.of(nsp));
    await listening(io._nsps.size);
  },
  log: () => log,
  sockets: ({ nsp = "/" }) => [...io.of(nsp).sockets.keys()],
  count: async ({ nsp = "/" }) => await io.of(nsp).adapter.serverCount(),
  emitter: async ({ nsp = "/", rooms = [], except = [], flags = {}, method, args = [] }) => {
    let found = (await makeEmitter()).of(nsp).to(rooms).except(except);
    if (flags.volatile) found = found.volatile;
    if (method === "serverSideEmit") (await makeEmitter()).of(nsp).serverSideEmit(...unpack(args));
    else found[method](...unpack(args));
  },
  close: async () => {
    await close();
  },
};

async function close() {
  await io.close();
  await Promise.allSettled(clients.map((client) => Promise.race([client.quit(), new Promise((done) => setTimeout(done, 300))])));
}

process.on("SIGTERM", () => close().finally(() => process.exit(0)));

createInterface({ input: process.stdin })
  .on("line", async (line) => {
    const command = JSON.parse(line);
    try {
      const value = await commands[command.do](command);
      send({ id: command.id, value: value === undefined ? null : value });
    } catch (error) {
      send({ id: command.id, error: describe(error) });
    }
  })
  .on("close", () => process.exit(0));

await listening(io._nsps.size);
http.listen(config.port ?? 0, "127.0.0.1", () => {
  send({ ready: { url: `http://127.0.0.1:${http.address().port}`, port: http.address().port, pid: process.pid } });
});

// Encodes and decodes messages between servers with Node's own adapters and emitter, over a Redis client that only
// writes down what it is asked to send.
//
// stdin:  {"encode": true, "streams": [[name, value, …], …], "pubsub": [{"channel", "payload": hex, "adapter"}, …]}
// stdout: {"sent": {name: [[command, …], …]}, "streams": [seen, …], "pubsub": [seen, …]}
// Payloads that are bytes are written {"$hex": hex}; "seen" is what reached the namespace or the adapter below.

// Ids of requests are always the same, so that what is sent can be compared.
require("crypto").randomBytes = (size) => Buffer.alloc(size, 0xab);

const path = require("path");
const { createRequire } = require("module");
const fromTests = createRequire(path.join(__dirname, "package.json"));
const streams = fromTests("@socket.io/redis-streams-adapter");
const classic = fromTests("@socket.io/redis-adapter");
const { Emitter } = fromTests("@socket.io/redis-emitter");
const { Adapter } = createRequire(fromTests.resolve("@socket.io/redis-streams-adapter"))("socket.io-adapter");

const show = (value) => (ArrayBuffer.isView(value) ? { $hex: Buffer.from(value).toString("hex") } : value);

class RedisClient {
  constructor(sent = []) {
    this.sent = sent;
    this.listeners = {};
    this.twins = [];
  }
  sSubscribe(channels, listener) { this.subscribe(channels, listener); return Promise.resolve(); }
  sUnsubscribe() { return Promise.resolve(); }
  subscribe(channels, listener) {
    for (const channel of [].concat(channels)) this.listeners[channel] = listener;
    return Promise.resolve();
  }
  pSubscribe(pattern, listener) { this.listeners[pattern] = listener; return Promise.resolve(); }
  publish(channel, payload) { this.sent.push(["PUBLISH", channel, show(payload)]); return Promise.resolve(1); }
  sPublish(channel, payload) { this.sent.push(["SPUBLISH", channel, show(payload)]); return Promise.resolve(1); }
  xAdd(key, id, fields) { this.sent.push(["XADD", key, fields]); return Promise.resolve("1-0"); }
  xRead() { return new Promise((resolve) => (this.read = resolve)); }
  set(key, value, options) { this.sent.push(["SET", key, value, options]); return Promise.resolve(); }
  sendCommand() { return Promise.resolve(["", "3"]); }
  duplicate() { this.twins.push(new RedisClient(this.sent)); return this.twins[this.twins.length - 1]; }
  connect() { return Promise.resolve(); }
  on() {}
  listenerCount() { return 2; }
}

const socket = {
  id: "sid1",
  handshake: { headers: { host: "x" }, time: "now", address: "::1", xdomain: false, secure: false, issued: 1, url: "/", query: {}, auth: {} },
  rooms: new Set(["sid1", "room"]),
  data: { name: "Ada" },
};

function namespace(name) {
  return {
    name,
    sockets: new Map([["sid1", socket]]),
    server: { opts: { connectionStateRecovery: { maxDisconnectionDuration: 120000 } }, encoder: { encode: () => [] }, _opts: {} },
    _ids: 0,
    seen: [],
    _onServerSideEmit(args) {
      const copy = [...args];
      if (typeof copy[copy.length - 1] === "function") copy.pop()("answer");
      this.seen.push({ serverSideEmit: copy });
    },
  };
}

function make(kind, name = "/", options = {}) {
  const client = new RedisClient();
  const nsp = namespace(name);
  let adapter;
  if (kind === "streams") adapter = streams.createAdapter(client, options)(nsp);
  else if (kind === "sharded") adapter = classic.createShardedAdapter(client, client, options)(nsp);
  else adapter = classic.createAdapter(client, client, options)(nsp);
  adapter.uid = "0123456789abcdef";
  adapter.specificResponseChannel = adapter.responseChannel + adapter.uid + "#";
  return { adapter, client, nsp };
}

// What the adapter below would do with a message: written down instead.
function tap(nsp) {
  const names = ["broadcast", "addSockets", "delSockets", "disconnectSockets", "broadcastWithAck", "fetchSockets"];
  const kept = Object.fromEntries(names.map((each) => [each, Adapter.prototype[each]]));
  const opts = (value) => ({ rooms: [...value.rooms], except: [...value.except], flags: value.flags });
  Adapter.prototype.broadcast = (packet, value) => nsp.seen.push({ broadcast: packet, opts: opts(value) });
  Adapter.prototype.addSockets = (value, rooms) => nsp.seen.push({ join: rooms, opts: opts(value) });
  Adapter.prototype.delSockets = (value, rooms) => nsp.seen.push({ leave: rooms, opts: opts(value) });
  Adapter.prototype.disconnectSockets = (value, close) => nsp.seen.push({ disconnect: close, opts: opts(value) });
  Adapter.prototype.broadcastWithAck = (packet, value, count, ack) => {
    nsp.seen.push({ ask: packet, opts: opts(value) });
    count(2);
    ack("yes");
  };
  Adapter.prototype.fetchSockets = async (value) => {
    nsp.seen.push({ fetch: opts(value) });
    return [socket];
  };
  return () => Object.assign(Adapter.prototype, kept);
}

const to = (rooms, except = [], flags = {}) => ({ rooms: new Set(rooms), except: new Set(except), flags });
const event = (...data) => ({ type: 2, data });

const EVENTS = {
  all: [event("hi", 1), to([])],
  room: [event("hi", "there"), to(["r1"])],
  socket: [event("hi"), to(["abcdefghijklmnopqrst"])],
  except: [event("hi"), to(["r1"], ["r2"])],
  volatile: [event("hi"), to([], [], { volatile: true })],
  uncompressed: [event("hi"), to([], [], { compress: false })],
  bytes: [event("hi", Buffer.from([0, 1, 255]), { deep: [Buffer.from("xy")] }), to(["r1"])],
  unicode: [event("Grüße", "\u2028 é 😀 \u0000\b\f\u001f\u007f/"), to(["zimmer ä"])],
  nan: [event("hi", NaN, Infinity), to([])],
  nan_bytes: [event("hi", NaN, Buffer.from("x")), to([])],
  large: [event("hi", Number.MAX_SAFE_INTEGER, -(2 ** 31), 4294967296, 1.5, 65535), to([])],
  large_bytes: [event("hi", Number.MAX_SAFE_INTEGER, -(2 ** 31), 4294967296, 1.5, Buffer.from("x")), to([])],
  date: [event("hi", new Date(1767225600123)), to([])],
  date_bytes: [event("hi", new Date(1767225600123), Buffer.from("x")), to([])],
  nothing: [event("hi", null, undefined), to([])],
  nothing_bytes: [event("hi", null, undefined, Buffer.from("x")), to([])],
  number: [event(7, "numbered"), to([])],
  surrogate: [event("hi", "\ud83d"), to([])],
};

const asked = (data) => [data, to(["r1"], [], { timeout: 1500 })];

const COMMANDS = {
  ask: (adapter) => adapter.broadcastWithAck(...asked(event("vote?")), () => {}, () => {}),
  ask_bytes: (adapter) => adapter.broadcastWithAck(...asked(event("vote?", Buffer.from("x"))), () => {}, () => {}),
  join: (adapter) => adapter.addSockets(to(["r1"], ["r2"]), ["a", "b"]),
  leave: (adapter) => adapter.delSockets(to(["r1"]), ["a"]),
  disconnect: (adapter) => adapter.disconnectSockets(to(["r1"]), true),
  fetch: (adapter) => adapter.fetchSockets(to(["r1"], [], { timeout: 2000 })).catch(() => {}),
  server_side: (adapter) => adapter.serverSideEmit(["sync", { a: 1 }]),
  server_side_ack: (adapter) => adapter.serverSideEmit(["sync", 1, () => {}]),
  rooms: (adapter) => adapter.allRooms && adapter.allRooms().catch(() => {}),
};

const EMITTER = {
  all: (emitter) => emitter.emit("hi", 1),
  room: (emitter) => emitter.to("r1").emit("hi", "there"),
  rooms: (emitter) => emitter.to(["r1", "r2"]).except("r3").emit("hi"),
  volatile: (emitter) => emitter.volatile.emit("hi"),
  uncompressed: (emitter) => emitter.compress(false).emit("hi"),
  bytes: (emitter) => emitter.emit("hi", Buffer.from([0, 1, 255]), { deep: [Buffer.from("xy")] }),
  buffer: (emitter) => emitter.emit("hi", new Uint8Array([1, 2, 3])),
  date: (emitter) => emitter.emit("hi", new Date(1767225600123), undefined, null),
  namespace: (emitter) => emitter.of("/chat").emit("hi"),
  join: (emitter) => emitter.in("r1").socketsJoin(["a", "b"]),
  leave: (emitter) => emitter.in("r1").except("r2").socketsLeave("a"),
  disconnect: (emitter) => emitter.in("r1").disconnectSockets(true),
  server_side: (emitter) => emitter.serverSideEmit("sync", { a: 1 }),
};

async function send(kind, run) {
  const { adapter, client, nsp } = make(kind);
  const restore = tap(nsp);
  try {
    await Promise.race([Promise.resolve(run(adapter)), new Promise((resolve) => setTimeout(resolve, 20))]);
  } finally {
    restore();
  }
  return client.sent;
}

async function answers(kind, message) {
  const { adapter, client, nsp } = make(kind);
  const restore = tap(nsp);
  try {
    if (kind === "classic") await adapter.onrequest("socket.io-request#/#", message);
    else adapter.onMessage(message);
    await new Promise((resolve) => setTimeout(resolve, 5));
  } finally {
    restore();
  }
  return client.sent;
}

const REQUESTS = {
  fetch: { type: 7, data: { opts: { rooms: [], except: [], flags: {} }, requestId: "aa" }, uid: "ffff", nsp: "/" },
  server_side: { type: 9, data: { requestId: "aa", packet: ["sync"] }, uid: "ffff", nsp: "/" },
  ask: { type: 3, data: { packet: event("q"), requestId: "aa", opts: { rooms: [], except: [], flags: {} } }, uid: "ffff", nsp: "/" },
};
const CLASSIC_REQUESTS = {
  sockets: { uid: "ffffff", requestId: "aa", type: 0, rooms: [] },
  rooms: { uid: "ffffff", requestId: "aa", type: 1 },
  fetch: { uid: "ffffff", requestId: "aa", type: 5, opts: { rooms: [], except: [] } },
  server_side: { uid: "ffffff", requestId: "aa", type: 6, data: ["sync"] },
  ask: { uid: "ffffff", requestId: "aa", type: 7, packet: event("q"), opts: { rooms: [], except: [], flags: {} } },
};

async function encodeAll() {
  const sent = {};
  for (const kind of ["streams", "sharded", "classic"]) {
    for (const [name, [packet, opts]] of Object.entries(EVENTS)) {
      const copy = { type: packet.type, data: [...packet.data] };
      sent[`${kind} ${name}`] = await send(kind, (adapter) => adapter.broadcast(copy, opts));
    }
    for (const [name, run] of Object.entries(COMMANDS)) sent[`${kind} ${name}`] = await send(kind, run);
  }
  for (const kind of ["streams", "sharded"])
    for (const [name, message] of Object.entries(REQUESTS)) sent[`${kind} answer ${name}`] = await answers(kind, message);
  for (const [name, message] of Object.entries(CLASSIC_REQUESTS))
    sent[`classic answer ${name}`] = await answers("classic", Buffer.from(JSON.stringify(message)));
  for (const [name, run] of Object.entries(EMITTER)) {
    const client = new RedisClient();
    run(new Emitter(client));
    sent[`emitter ${name}`] = client.sent;
  }
  for (const count of [2, 4, 7])
    for (const nsp of ["/", "/notifications", "/chat", "/😀"]) {
      const { adapter, client } = make("streams", nsp, { streamCount: count });
      await adapter.addSockets(to([]), []);
      sent[`stream ${count} ${nsp}`] = client.sent.map((each) => each.slice(0, 2));
    }
  return sent;
}

const visible = (value) =>
  JSON.parse(JSON.stringify(value, (key, each) => {
    if (ArrayBuffer.isView(each)) return show(each);
    if (each && each.type === "Buffer" && Array.isArray(each.data)) return { $hex: Buffer.from(each.data).toString("hex") };
    return each === undefined ? { $undefined: true } : each;
  }));

async function decode(kind, deliver, name = "/") {
  const made = make(kind, name);
  const restore = tap(made.nsp);
  try {
    await deliver(made);
    await new Promise((resolve) => setTimeout(resolve, 5));
  } finally {
    restore();
  }
  return visible(made.nsp.seen);
}

// The streams adapter duplicates its client twice: to read, and to subscribe.
function subscriber({ client }, channel) {
  const found = client.twins.find((each) => each.listeners[channel]);
  if (!found) throw new Error(`nobody has subscribed to ${channel}`);
  return found.listeners[channel];
}

async function main() {
  const input = JSON.parse(require("fs").readFileSync(0, "utf8"));
  const output = { sent: input.encode ? await encodeAll() : {}, streams: [], pubsub: [] };
  for (const fields of input.streams || []) {
    const message = {};
    for (let i = 0; i < fields.length; i += 2) message[fields[i]] = fields[i + 1];
    output.streams.push(await decode("streams", ({ adapter }) => adapter.onRawMessage(message, "5-0"), message.nsp));
  }
  for (const { adapter: kind, channel, payload, nsp } of input.pubsub || []) {
    const bytes = Buffer.from(payload, "hex");
    output.pubsub.push(
      await decode(kind, async (made) => {
        await new Promise((resolve) => setTimeout(resolve, 1));
        if (kind === "classic" && channel.startsWith("socket.io#")) return made.adapter.onmessage(null, channel, bytes);
        if (kind === "classic") return made.adapter.onrequest(channel, bytes);
        if (kind === "sharded") return made.adapter.onRawMessage(bytes, channel);
        return subscriber(made, channel)(bytes);
      }, nsp),
    );
  }
  process.stdout.write(JSON.stringify(output), () => process.exit(0));
}

main();

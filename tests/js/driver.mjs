// Hosts any number of stock socket.io-client sockets for the Python tests (tests/support/js.py): version 4, and version 2
// by the option `v2`, see v2.mjs.
//
// One JSON object per line, both ways.
//   in:   {"id": 7, "do": "emit", "client": 1, …}        what to do: the functions of `commands`
//   out:  {"id": 7, "value": …} or {"id": 7, "error": {"name", "message", "stack"}}
//         {"client": 1, "event": "message", "args": […]}  an event of the application
//         {"client": 1, "life": "disconnect", "args": […]} what became of the socket, its manager or its engine
//         {"fatal": {…}}                                  an exception that nothing caught
// What JSON lacks is written {"$bytes": base64}, {"$date": milliseconds}, {"$number": "NaN"}, {"$bigint": "…"}.

import { Agent } from "node:http";
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { io } from "socket.io-client";
import msgpackParser from "socket.io-msgpack-parser";
import * as v2 from "./v2.mjs";
import { describe, pack, unpack } from "./values.mjs";

const version = createRequire(import.meta.url)("socket.io-client/package.json").version;
const clients = new Map(); // number -> { socket, agent, rules, questions, seenEngines, forget }
let barriers = 0;

function send(message) {
  process.stdout.write(JSON.stringify(message) + "\n");
}

function fatal(error) {
  send({ fatal: { message: String(error?.message ?? error), stack: String(error?.stack ?? "") } });
}

// --- clients ----------------------------------------------------------------------------------------------------

function find(number) {
  const client = clients.get(number);
  if (!client) throw new Error(`there is no client ${number}`);
  return client;
}

function state(socket) {
  const engine = socket.io.engine;
  return {
    id: socket.id ?? null,
    connected: socket.connected,
    recovered: Boolean(socket.recovered),
    active: Boolean(socket.active),
    buffered: socket.sendBuffer.length,
    transport: engine?.transport?.name ?? null,
    engineId: engine?.id ?? null,
    engineState: engine?.readyState ?? null,
  };
}

function watchEngine(life, client) {
  const engine = client.socket.io.engine;
  if (!engine || client.seenEngines.has(engine)) return;
  client.seenEngines.add(engine);
  if (client.v2) v2.dressEngine(engine);
  engine.on("upgrade", (transport) => life("upgrade", transport.name));
  engine.on("upgradeError", (error) => life("upgrade_error", describe(error)));
  engine.on("close", (reason) => life("engine_close", reason));
}

function watch(number, socket, agent, isV2) {
  const client = { socket, agent, v2: isV2, rules: new Map(), questions: [], seenEngines: new WeakSet(), forget: [] };
  clients.set(number, client);
  const life = (name, ...args) => {
    if (clients.get(number) === client) send({ client: number, life: name, args: args.map(pack) });
  };
  const manager = socket.io;
  const listen = (name, handler) => {
    manager.on(name, handler);
    client.forget.push(() => manager.off(name, handler));
  };

  socket.on("connect", () => {
    watchEngine(life, client);
    life("connect", state(socket));
  });
  socket.on("disconnect", (reason, details) => life("disconnect", reason, describe(details)));
  socket.on("connect_error", (error) => life("connect_error", describe(error)));
  if (isV2) {
    socket.on("error", (error) => life("error", describe(error)));
    listen("pong", () => life("pong"));
  }
  listen("open", () => {
    watchEngine(life, client);
    life("open");
  });
  listen("ping", () => life("ping"));
  listen("reconnect_attempt", (attempt) => life("reconnect_attempt", attempt));
  listen("reconnect_error", (error) => life("reconnect_error", describe(error)));
  listen("reconnect_failed", () => life("reconnect_failed"));
  listen("reconnect", (attempt) => life("reconnect", attempt));
  watchEngine(life, client);

  socket.onAny((event, ...args) => {
    const ack = typeof args.at(-1) === "function" ? args.pop() : null;
    send({ client: number, event, args: args.map(pack), ...(ack && { ack: true }) });
    if (ack) {
      client.questions.push({ event, args, ack });
      answerQuestions(client);
    }
  });
}

// A question that no rule speaks of waits for one: the server may ask before the test has said what to answer.
function answerQuestions(client) {
  client.questions = client.questions.filter(({ event, args, ack }) => {
    const rule = client.rules.get(event) ?? client.rules.get("*");
    if (!rule) return true;
    if (rule.mode === "silent") return false;
    const answer = () => ack(...(rule.mode === "echo" ? args : rule.args));
    if (rule.delay) setTimeout(answer, rule.delay);
    else answer();
    return false;
  });
}

function options(given) {
  const { parser, ...rest } = unpack(given ?? {});
  if (parser === undefined) return rest;
  if (parser !== "msgpack") throw new Error(`unknown parser ${JSON.stringify(parser)}`);
  return { ...rest, parser: msgpackParser };
}

function flagged(socket, { volatile, compress, timeout }) {
  if (volatile) socket = socket.volatile;
  if (compress !== undefined && compress !== null) socket = socket.compress(compress);
  if (timeout !== undefined && timeout !== null) socket = socket.timeout(timeout);
  return socket;
}

function websocketOf(client) {
  const transport = client.socket.io.engine?.transport;
  if (transport?.name !== "websocket" || !transport.ws) throw new Error("the transport is no open websocket");
  return transport.ws;
}

function kill({ socket, agent }) {
  const { engine } = socket.io;
  const { transport } = engine;
  if (transport.name === "websocket") {
    transport.ws?.terminate();
    return;
  }
  // A polling client stops in the middle of its requests and sends no "close", which a closed transport does not.
  transport.readyState = "closed";
  engine._onClose("transport close", { description: "killed by the test" });
  agent.destroy();
}

function discard(number) {
  const client = clients.get(number);
  clients.delete(number); // first: what follows is not reported any more
  client.forget.forEach((off) => off());
  const { ws } = client.socket.io.engine?.transport ?? {};
  if (ws?.isPaused) ws.resume(); // or the closing handshake would wait for ever
  const transport = client.socket.io.engine?.transport;
  client.socket.disconnect();
  client.socket.io._close();
  return quiet(transport);
}

// Until the last poll is over, the server has not been told: a test that stops its server at once would cut it off.
async function quiet(transport) {
  const deadline = Date.now() + 500;
  const isBusy = () => transport?.pollXhr?._xhr ?? transport?.pollXhr?.xhr;
  while (isBusy() && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
}

// Each gets the request and returns the value of the answer, or a promise of it.
const commands = {
  hello: () => ({ node: process.versions.node, client: version }),

  connect({ client, url, options: given }) {
    // Node's default but for the name: a new connection for each request, which `kill` can then get hold of.
    const agent = url.startsWith("https:") ? undefined : new Agent();
    const { v2: isV2, ...rest } = options(given);
    watch(client, (isV2 ? v2.connect : io)(url, { agent, ...rest }), agent, isV2);
  },

  // Another namespace on the connection that a client has: what io.socket(nsp) or a second io() call does.
  of({ client, parent, nsp, options: given }) {
    const { socket, agent, v2: isV2 } = find(parent);
    const opened = socket.io.socket(nsp, options(given));
    watch(client, isV2 ? v2.dress(opened) : opened, agent, isV2);
  },

  open({ client }) {
    find(client).socket.connect();
  },

  disconnect({ client }) {
    find(client).socket.disconnect();
  },

  auth({ client, auth }) {
    find(client).socket.auth = unpack(auth);
  },

  state({ client }) {
    return state(find(client).socket);
  },

  emit({ client, event, args, ...flags }) {
    flagged(find(client).socket, flags).emit(event, ...unpack(args));
  },

  emitWithAck({ client, event, args, ...flags }) {
    const { socket, v2: isV2 } = find(client);
    if (isV2) return new Promise((resolve) => socket.emit(event, ...unpack(args), (...answer) => resolve(answer)));
    return new Promise((resolve, reject) => {
      const ack = (error, ...answer) => (error ? reject(error) : resolve(answer));
      ack.withError = true; // as emitWithAck() does, so that a disconnect is told
      flagged(socket, flags).emit(event, ...unpack(args), ack);
    });
  },

  rule({ client, event, mode, args, delay }) {
    find(client).rules.set(event, { mode, args: unpack(args ?? []), delay });
    answerQuestions(find(client));
  },

  // Comes back when everything that the server had sent before has been handed to the listeners: the server answers
  // CONNECT for a namespace nobody knows, and frames of one connection keep their order.
  barrier({ client }) {
    const { socket } = find(client);
    if (!socket.connected) return false;
    const nsp = `/barrier-of-the-tests-${++barriers}`;
    return new Promise((resolve, reject) => {
      const probe = socket.io.socket(nsp);
      const done = () => {
        probe.removeAllListeners();
        socket.off("disconnect", lost);
        probe.disconnect();
        delete socket.io.nsps[nsp];
      };
      const passed = () => (done(), resolve(true));
      const lost = (reason) => (done(), reject(new Error(`disconnected (${reason}) while waiting for the barrier`)));
      probe.once("connect", passed);
      probe.once("connect_error", passed);
      probe.once("error", passed); // version 2
      socket.once("disconnect", lost);
    });
  },

  // The client is gone without a word: no Engine.IO close, no websocket close frame.
  kill({ client }) {
    kill(find(client));
  },

  closeEngine({ client }) {
    find(client).socket.io.engine.close();
  },

  // A client that does not read: TCP pushes back on the server.
  pause({ client }) {
    websocketOf(find(client)).pause();
  },

  resume({ client }) {
    websocketOf(find(client)).resume();
  },

  // An Engine.IO packet of any type, by the client's own transport.
  sendPacket({ client, type, data }) {
    find(client).socket.io.engine._sendPacket(type, unpack(data) ?? undefined);
  },

  // A websocket message exactly as given.
  sendFrame({ client, data }) {
    websocketOf(find(client)).send(unpack(data));
  },

  async reset() {
    await Promise.all([...clients.keys()].map(discard));
  },
};

// --- the conversation ---------------------------------------------------------------------------------------------

async function handle(line) {
  let request;
  try {
    request = JSON.parse(line);
    const command = Object.hasOwn(commands, request.do) ? commands[request.do] : null;
    if (!command) throw new Error(`unknown command ${JSON.stringify(request.do)}`);
    send({ id: request.id, value: pack(await command(request)) });
  } catch (error) {
    if (request?.id === undefined) fatal(error);
    else send({ id: request.id, error: { ...describe(error), stack: String(error?.stack ?? "") } });
  }
}

process.on("uncaughtException", fatal);
process.on("unhandledRejection", fatal);
process.stdout.on("error", () => process.exit(0)); // the tests have gone
createInterface({ input: process.stdin })
  .on("line", (line) => void handle(line))
  .on("close", () => process.exit(0));

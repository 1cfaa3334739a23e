// Stock clients that keep a log of what they receive, for the tests of connection state recovery (tests/support/counting.py).
//
//   node counting.mjs <url> <transport> <clients>     transport: "polling", "websocket" or "upgrade"
//
// Standard input, one word per line: "leave" has every client notice that its network has gone, without a word to the
// server; "report" writes one JSON line, [[entry, …] per client]; "end" ends.
//   entry: a number that came with "n", or {"connect": recovered, "id": …}, or {"disconnect": reason}

import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [url, transport, count] = process.argv.slice(2);
const transports = transport === "upgrade" ? ["polling", "websocket"] : [transport];
const logs = [];
const sockets = [];

for (let number = 0; number < Number(count); number++) {
  const log = [];
  const socket = io(url, {
    forceNew: true,
    transports,
    auth: { number },
    reconnectionDelay: 50,
    reconnectionDelayMax: 100,
    timeout: 2000,
  });
  socket.on("n", (value) => log.push(value));
  socket.on("connect", () => log.push({ connect: Boolean(socket.recovered), id: socket.id }));
  socket.on("disconnect", (reason) => log.push({ disconnect: reason }));
  logs.push(log);
  sockets.push(socket);
}

function leave({ io: { engine } }) {
  const transport = engine?.transport;
  if (transport?.name === "websocket") transport.ws?.terminate();
  else if (transport) {
    transport.readyState = "closed"; // so that it sends no "close"; also in the middle of an upgrade
    engine._onClose("transport close");
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  if (line === "leave") sockets.forEach(leave);
  else if (line === "report") process.stdout.write(JSON.stringify(logs) + "\n");
  else break;
}
sockets.forEach((socket) => socket.disconnect());
process.exit(0);

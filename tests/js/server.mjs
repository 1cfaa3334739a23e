// A stock Socket.IO server, which the command line's client is to get along with (tests/support/echo_servers.py has its twin).
//
//   node server.mjs [msgpack]
//
// Prints its URL; ends with its standard input.

import { createServer } from "node:http";
import { Server } from "socket.io";
import msgpack from "socket.io-msgpack-parser";

const http = createServer((request, response) => response.writeHead(404).end());
const io = new Server(http, process.argv[2] === "msgpack" ? { parser: msgpack } : {});

for (const namespace of [io, io.of("/chat")]) {
  namespace.use((socket, next) => {
    if (socket.handshake.auth.token !== "wrong") return next();
    next(Object.assign(new Error("forbidden"), { data: { code: 403 } }));
  });
  namespace.on("connection", (socket) => {
    socket.on("echo", (...args) => args.pop()(...args));
    socket.on("mirror", (...args) => socket.emit("mirrored", ...args));
    socket.on("who", (ack) => {
      const { auth, headers, query } = socket.handshake;
      ack({ nsp: socket.nsp.name, auth, header: headers["x-test"], query: query.color });
    });
    socket.on("ask", () => socket.emit("question", "why?", (answer) => socket.emit("answered", answer)));
    socket.on("leave", () => {
      socket.emit("bye");
      socket.disconnect();
    });
    socket.on("dates", () => socket.emit("date", new Date(0), undefined));
    socket.on("silence", () => {});
    socket.on("1", (...args) => args.pop()("one"));
    socket.on(2, (...args) => args.pop()("two"));
  });
}

http.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${http.address().port}`));
process.stdin.on("end", () => process.exit()).resume();

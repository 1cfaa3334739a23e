// Stock Socket.IO servers, one for each parser, which the command line's client is to get along with
// (tests/support/echo_servers.py has their twins). They know nothing of clients that have gone.
//
// Prints their URLs, {"json": …, "msgpack": …}; ends with its standard input.

import { createServer } from "node:http";
import { Server } from "socket.io";
import msgpack from "socket.io-msgpack-parser";

async function serve(options) {
  const http = createServer((request, response) => response.writeHead(404).end());
  const io = new Server(http, options);
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
  await new Promise((listening) => http.listen(0, "127.0.0.1", listening));
  return `http://127.0.0.1:${http.address().port}`;
}

console.log(JSON.stringify({ json: await serve({}), msgpack: await serve({ parser: msgpack }) }));
process.stdin.on("end", () => process.exit()).resume();

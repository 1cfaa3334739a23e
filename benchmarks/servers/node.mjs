// The benchmark's server on Socket.IO for Node: default settings.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http);

io.on("connection", (socket) => {
  socket.on("bcast", (data) => io.emit("bcast", data));
  socket.on("echo", (data, reply) => reply(data));
});

http.listen(Number(process.env.PORT), "127.0.0.1");

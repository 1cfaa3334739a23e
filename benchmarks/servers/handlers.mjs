// What the benchmark's JavaScript servers do, on Node and on Bun.
export function serve(io) {
  io.on("connection", (socket) => {
    socket.on("bcast", (data) => io.emit("bcast", data));
    socket.on("echo", (data, reply) => reply(data));
    socket.on("join", (prefix, count, reply) => {
      socket.join(Array.from({ length: count }, (_, number) => `${prefix}${number}`));
      reply(count);
    });
  });
}

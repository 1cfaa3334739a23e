// The stock socket.io-client 2 for driver.mjs, which speaks to it as to a client of version 4.
//
// What version 2 lacks is added from outside: catch-all listeners, and the names that the driver uses of the inside.
// What it does by another way stays as it is: a refusal is its "error" event, and its acks know no error.

import io from "socket.io-client-v2";

export function connect(url, options) {
  return dress(io(url, options));
}

export function dress(socket) {
  const manager = socket.io;
  let listener = () => {};
  socket.onAny = (given) => (listener = given);
  // Its own method puts what comes before CONNECT aside; this one lets it be seen.
  socket.onevent = (packet) => {
    const ack = packet.id === undefined || packet.id === null ? [] : [socket.ack(packet.id)];
    listener(...packet.data, ...ack);
  };
  manager._close ??= () => manager.close();
  return socket;
}

// The engine is another object after each reconnection.
export function dressEngine(engine) {
  engine._onClose ??= (reason) => engine.onClose(reason);
  engine._sendPacket ??= (type, data) => engine.sendPacket(type, data);
  engine.on("upgradeError", () => {}); // else an upgrade that fails would look like an error nobody expected
}

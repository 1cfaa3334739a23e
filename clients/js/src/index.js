import { Manager } from "socket.io-client";
import { Connection } from "./connection.js";
import { sortOptions } from "./options.js";
import { RemoteConnection } from "./remote-connection.js";
import { timersOf } from "./timers.js";

export { presence } from "./presence.js";

/** @type {import("../types/index.js").connect} */
export const connect = /** @type {any} */ (open);

/**
 * @param {import("../types/index.js").ConnectOptions} [options]
 * @returns {import("../types/index.js").Connection<any>}
 */
function open(options = {}) {
  const { settings, page, runIn = "page", timers, namespace, autoConnect, ...where } = sortOptions(options);
  const connection =
    runIn === "page"
      ? new Connection(settings, { ...page, Manager, runsIn: "page", timers: timersOf(timers) })
      : new RemoteConnection(settings, { ...page, ...where, Manager, runIn });
  const known = new Set();
  const of = (/** @type {string} */ nsp) => {
    const socket = connection.of(nsp);
    if (autoConnect && !known.has(nsp)) socket.connect();
    known.add(nsp);
    return socket;
  };
  return Object.freeze({
    socket: of(namespace),
    of,
    status: { get: connection.status.get, subscribe: connection.status.subscribe },
    connect: () => connection.connect(),
    reconnect: () => connection.reconnect(),
    signOut: () => connection.signOut(),
    close: () => connection.close(),
  });
}

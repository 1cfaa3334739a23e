import { Observable } from "./observable.js";

/** @typedef {import("../types/index.js").Member} Member */
/** @typedef {{ on(event: string, listener: (...args: any[]) => void): unknown, recovered: boolean }} Source */

/** Who is in the rooms of a socket, as the server tells it. */
export class PresenceStore {
  /** @type {Map<string, Observable<readonly Member[]>>} */
  rooms = new Map();

  /** @param {Source} socket */
  constructor(socket) {
    socket.on("presence", ({ room, members }) => this.list(room).set(members));
    socket.on("presence_join", ({ room, user, meta }) => this.#put(room, user, meta));
    socket.on("presence_update", ({ room, user, meta }) => this.#put(room, user, meta));
    socket.on("presence_leave", ({ room, user }) => {
      const list = this.list(room);
      list.set(list.get().filter((member) => member.user !== user));
    });
    socket.on("connect", () => {
      if (socket.recovered) return; // else the rooms are gone, and the server tells anew of those that are joined again
      for (const [room, list] of this.rooms) if (!list.watched) this.rooms.delete(room);
    });
  }

  /**
   * @param {string} room
   * @returns {Observable<readonly Member[]>}
   */
  list(room) {
    let list = this.rooms.get(room);
    if (!list) this.rooms.set(room, (list = new Observable(/** @type {readonly Member[]} */ ([]))));
    return list;
  }

  /**
   * @param {string} room
   * @param {string} user
   * @param {unknown} meta
   */
  #put(room, user, meta) {
    const list = this.list(room);
    const members = list.get();
    const known = members.some((member) => member.user === user);
    list.set(
      known
        ? members.map((member) => (member.user === user ? { ...member, meta } : member))
        : [...members, { user, meta, tabs: 1 }],
    );
  }
}

/** @type {WeakMap<Source, PresenceStore>} */
const stores = new WeakMap();

/**
 * The store of a socket, which listens from the first call on.
 *
 * @param {Source} socket
 */
export function presenceOf(socket) {
  let store = stores.get(socket);
  if (!store) stores.set(socket, (store = new PresenceStore(socket)));
  return store;
}

/** @type {import("../types/index.js").presence} */
export function presence(socket, room) {
  const store = presenceOf(socket);
  return {
    get: () => store.list(room).get(),
    subscribe: (listener) => store.list(room).subscribe(listener),
  };
}

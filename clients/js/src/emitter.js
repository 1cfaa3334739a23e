/** @typedef {(...args: any[]) => void} Listener */

/** Listeners by the name of an event, with the methods of the stock client's sockets. */
export class Emitter {
  /** @type {Map<string, Listener[]>} */
  #listeners = new Map();
  /** @type {Listener[]} */
  #any = [];
  /** @type {Listener[]} */
  #anyOutgoing = [];

  /**
   * @param {string} event
   * @param {Listener} listener
   */
  on(event, listener) {
    this.#listeners.set(event, [...this.listeners(event), listener]);
    return this;
  }

  /**
   * @param {string} event
   * @param {Listener} listener
   */
  once(event, listener) {
    const once = (/** @type {any[]} */ ...args) => {
      this.off(event, once);
      listener.apply(this, args);
    };
    once.listener = listener;
    return this.on(event, once);
  }

  /**
   * @param {string} [event] all events
   * @param {Listener} [listener] all listeners
   */
  off(event, listener) {
    if (event === undefined) this.#listeners.clear();
    else if (listener === undefined) this.#listeners.delete(event);
    else {
      const all = this.listeners(event);
      const at = all.findIndex((each) => each === listener || /** @type {any} */ (each).listener === listener);
      if (at >= 0)
        this.#listeners.set(
          event,
          all.filter((_, number) => number !== at),
        );
    }
    return this;
  }

  /** @param {string} event */
  listeners(event) {
    return this.#listeners.get(event) ?? [];
  }

  /** @param {string} event */
  hasListeners(event) {
    return this.listeners(event).length > 0;
  }

  /** @param {Listener} listener */
  onAny(listener) {
    this.#any = [...this.#any, listener];
    return this;
  }

  /** @param {Listener} listener */
  prependAny(listener) {
    this.#any = [listener, ...this.#any];
    return this;
  }

  /** @param {Listener} [listener] */
  offAny(listener) {
    this.#any = without(this.#any, listener);
    return this;
  }

  listenersAny() {
    return this.#any;
  }

  /** @param {Listener} listener */
  onAnyOutgoing(listener) {
    this.#anyOutgoing = [...this.#anyOutgoing, listener];
    return this;
  }

  /** @param {Listener} listener */
  prependAnyOutgoing(listener) {
    this.#anyOutgoing = [listener, ...this.#anyOutgoing];
    return this;
  }

  /** @param {Listener} [listener] */
  offAnyOutgoing(listener) {
    this.#anyOutgoing = without(this.#anyOutgoing, listener);
    return this;
  }

  listenersAnyOutgoing() {
    return this.#anyOutgoing;
  }

  /**
   * Call the listeners of an event. An exception of one of them keeps nothing from the others.
   *
   * @protected
   * @param {string} event
   * @param {any[]} args
   */
  tell(event, args) {
    for (const listener of this.listeners(event)) callSafely(this, listener, args);
  }

  /**
   * Call those who listen to every event.
   *
   * @protected
   * @param {Listener[]} listeners
   * @param {any[]} args the name of the event, and its arguments
   */
  tellAny(listeners, args) {
    for (const listener of listeners) callSafely(this, listener, args);
  }
}

/**
 * @param {Listener[]} listeners
 * @param {Listener} [listener]
 */
const without = (listeners, listener) => {
  const at = listener ? listeners.indexOf(listener) : -1;
  return listener ? listeners.filter((_, number) => number !== at) : [];
};

/**
 * @param {unknown} self
 * @param {Listener} listener
 * @param {any[]} args
 */
function callSafely(self, listener, args) {
  try {
    listener.apply(self, args);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

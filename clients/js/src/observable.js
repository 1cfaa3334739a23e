/**
 * A value that changes, and those who want to hear of it. Its methods are bound: they may be passed on by themselves.
 *
 * @template T
 */
export class Observable {
  #value;
  /** @type {Set<(value: T) => void>} */
  #listeners = new Set();

  /** @param {T} value */
  constructor(value) {
    this.#value = value;
    this.get = () => this.#value;
    /** @param {(value: T) => void} listener */
    this.subscribe = (listener) => {
      const own = (/** @type {T} */ value) => listener(value); // the same function may subscribe twice
      this.#listeners.add(own);
      listener(this.#value);
      return () => void this.#listeners.delete(own);
    };
  }

  /** How many subscribe at the moment. */
  get watched() {
    return this.#listeners.size;
  }

  /** @param {T} value */
  set(value) {
    this.#value = value;
    for (const listener of [...this.#listeners]) listener(value);
  }
}

import { Emitter } from "./emitter.js";
import { toPlain } from "./plain.js";

const RESERVED = ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/** @typedef {import("../types/index.js").RemoteSocket<any, any>} Declared */
/** @typedef {{ volatile?: boolean, compress?: boolean, timeout?: number }} Flags */

/**
 * A socket whose connection is in a worker, with the methods of the stock client's.
 *
 * @implements {Declared}
 */
export class RemoteSocket extends Emitter {
  connected = false;
  recovered = false;
  active = false;
  /** @type {string | undefined} */
  id = undefined;
  /** @type {Flags} */
  #flags = {};
  /** @type {Map<number, { done: (...args: any[]) => void, hearsErrors: boolean }>} */
  #acks = new Map();
  #ids = 0;
  #turn = 0; // numbers the times that it was connected: what belongs to the time before is not listened to
  /** @type {object[]} */
  #held = [];
  #post;
  #acksFail;

  /**
   * @param {string} nsp
   * @param {(message: object) => void} post
   * @param {boolean} acksFail whether acks get an error first, by an option of the connection
   */
  constructor(nsp, post, acksFail) {
    super();
    this.nsp = nsp;
    this.#post = post;
    this.#acksFail = acksFail;
  }

  get disconnected() {
    return !this.connected;
  }

  get volatile() {
    this.#flags.volatile = true;
    return this;
  }

  /** @param {boolean} compress */
  compress(compress) {
    this.#flags.compress = compress;
    return this;
  }

  /** @param {number} timeout milliseconds */
  timeout(timeout) {
    this.#flags.timeout = timeout;
    return this;
  }

  connect() {
    if (this.active) return this;
    this.active = true;
    this.attach();
    for (const message of this.#held.splice(0)) this.#post(message);
    return this;
  }

  open() {
    return this.connect();
  }

  disconnect() {
    if (!this.active) return this;
    this.#post({ type: "detach", nsp: this.nsp });
    this.#turn++;
    this.active = false;
    this.#left("io client disconnect");
    return this;
  }

  close() {
    return this.disconnect();
  }

  /** @param {any[]} args */
  send(...args) {
    return this.emit("message", ...args);
  }

  /**
   * @param {string} event
   * @param {any[]} args
   */
  emit(event, ...args) {
    if (RESERVED.includes(event)) throw new Error(`"${event}" is a reserved event name`);
    const flags = this.#flags;
    this.#flags = {};
    const done = typeof args.at(-1) === "function" ? args.pop() : undefined;
    const hearsErrors = done?.hearsErrors || flags.timeout !== undefined || this.#acksFail;
    this.tellAny(this.listenersAnyOutgoing(), [event, ...args]);
    const ack = done && ++this.#ids;
    if (ack) this.#acks.set(ack, { done, hearsErrors });
    const message = { type: "emit", nsp: this.nsp, args: [event, ...args.map((each) => toPlain(each))], ack, flags };
    if (this.active) this.#post(message);
    else if (!flags.volatile) this.#held.push(message);
    return this;
  }

  /**
   * @param {string} event
   * @param {any[]} args
   * @returns {Promise<any>}
   */
  emitWithAck(event, ...args) {
    return new Promise((resolve, reject) => {
      const done = (/** @type {Error | null} */ error, /** @type {any} */ answer) =>
        error ? reject(error) : resolve(answer);
      done.hearsErrors = true;
      this.emit(event, ...args, done);
    });
  }

  // --- for the connection: what the worker says ---

  /** Ask the worker for this namespace, after connect() or when there is a new worker. */
  attach() {
    this.#post({ type: "attach", nsp: this.nsp, turn: ++this.#turn });
  }

  /** @param {any} message */
  receive(message) {
    if (message.type === "ack") return this.#answered(message);
    if (message.turn !== this.#turn || !this.active) return;
    if (message.type === "connect") {
      Object.assign(this, { connected: true, id: message.id, recovered: message.recovered });
      this.tell("connect", []);
    } else if (message.type === "disconnect") {
      this.active = message.active;
      this.#left(message.reason, message.description);
    } else if (message.type === "connect_error") {
      this.active = message.active;
      this.tell("connect_error", [Object.assign(new Error(message.message), { data: message.data })]);
    } else if (message.type === "event") this.#event(message);
  }

  /** The worker is out of reach; connect again when there is another. */
  lost() {
    this.#turn++;
    this.#left("transport close");
    for (const ack of [...this.#acks.keys()]) this.#answered({ ack, error: "socket has been disconnected", args: [] });
  }

  /** @param {{ args: any[], ack?: number }} message */
  #event({ args, ack }) {
    const [event] = args;
    const heard = this.hasListeners(event) || this.listenersAny().length > 0;
    if (ack !== undefined) {
      if (!heard) return this.#post({ type: "answer", nsp: this.nsp, ack, silent: true });
      let sent = false;
      args.push((/** @type {any[]} */ ...answer) => {
        if (sent) return;
        sent = true;
        this.#post({ type: "answer", nsp: this.nsp, ack, args: answer.map((each) => toPlain(each) ?? null) });
      });
    }
    this.tellAny(this.listenersAny(), args);
    this.tell(event, args.slice(1));
  }

  /** @param {{ ack: number, error?: string, args: any[] }} message */
  #answered({ ack, error, args }) {
    const waiting = this.#acks.get(ack);
    this.#acks.delete(ack);
    if (!waiting) return;
    if (waiting.hearsErrors) waiting.done(error === undefined ? null : new Error(error), ...args);
    else if (error === undefined) waiting.done(...args);
  }

  /**
   * @param {string} reason
   * @param {unknown} [description]
   */
  #left(reason, description) {
    if (!this.connected) return;
    this.connected = false;
    this.id = undefined;
    this.tell("disconnect", [reason, description]);
  }
}

import { Hosts, parseHost } from "./hosts.js";
import { Reconnector } from "./reconnector.js";
import { Observable } from "./observable.js";
import { presenceOf } from "./presence.js";
import { plainTimers } from "./timers.js";
import { watchWaking } from "./waking.js";

/** @typedef {import("socket.io-client").Socket} Socket */
/** @typedef {import("../types/index.js").Status} Status */
/** @typedef {import("../types/index.js").TokenRequest} TokenRequest */
/** @typedef {import("../types/index.js").Kick} Kick */

/** The codes of refusals that a new token may mend, and what getToken() is told. */
const REASONS = new Map(
  /** @type {Array<[string, TokenRequest["reason"]]>} */ ([
    ["expired", "expired"],
    ["token_expired", "expired"],
    ["token_revoked", "revoked"],
    ["kicked", "kicked"],
  ]),
);
/** How often a new token is asked for while the server waits, and the milliseconds between. */
const TRIES = 3;
const PAUSE = 2_000;

/** The type of an event's packet, in the Socket.IO protocol. */
const EVENT = 2;

export const RETRY = { min: 1_000, max: 5_000, jitter: 0.5 };

/**
 * @typedef {object} Settings what a connection needs; all of it but the functions can cross to a worker
 * @property {string[]} hosts
 * @property {string} [path]
 * @property {Partial<import("../types/index.js").RetryOptions>} [retry]
 * @property {number} [recheck]
 * @property {number | false} [returnAfter]
 * @property {string} [check]
 * @property {Record<string, unknown>} [stock] options of the stock client
 */

/**
 * @typedef {object} Surroundings where the connection runs
 * @property {typeof import("socket.io-client").Manager} Manager
 * @property {import("../types/index.js").Place} runsIn
 * @property {import("./timers.js").Timers} [timers]
 * @property {((request: TokenRequest) => Promise<object | null>) | null} credentials what a client connects with
 * @property {boolean} renews whether credentials() can bring a new token
 * @property {(kick: Kick) => void} [onKicked]
 * @property {() => void} [onSignedOut]
 */

/** A connection with its sockets, wherever it runs. */
export class Connection {
  /** @type {Map<string, { socket: Socket, refused: boolean }>} */
  #sockets = new Map();
  #reconnector;
  #around;
  #timers;
  #unwatch;
  #hosts;
  /** @type {TokenRequest["reason"]} */
  #reason = "connect";
  /** @type {{ engine: unknown, reason: string, auth: Promise<object | null> } | null} */
  #asked = null;
  /** @type {Kick | null} */
  #kick = null;

  /**
   * @param {Settings} settings
   * @param {Surroundings} around
   */
  constructor(settings, around) {
    const { hosts, path = "/socket.io", retry, recheck = 30_000, returnAfter = 300_000, stock = {} } = settings;
    const check = settings.check ?? `${path.replace(/\/$/, "")}/`;
    this.#around = around;
    this.#timers = around.timers ?? plainTimers;
    this.#hosts = new Hosts(hosts.map((host) => parseHost(host)));
    this.stock = stock;
    this.renews = around.renews;
    this.status = new Observable(this.#status("idle"));
    this.#reconnector = new Reconnector(
      around.Manager,
      { ...stock, path },
      {
        hosts: this.#hosts,
        timers: this.#timers,
        retry: { ...RETRY, ...retry },
        recheck,
        returnAfter,
        check,
        wanted: () => [...this.#sockets.values()].some(({ socket }) => socket.active),
        tell: (state, detail) => {
          if (state !== "idle" || !this.#isOver) this.#tell(state, detail);
        },
      },
    );
    this.#reconnector.manager.on("packet", ({ type, nsp, data }) => {
      // From the Manager: a socket keeps an event that comes with the end of a poll until it is connected again.
      if (type === EVENT && data?.[0] === "kicked" && this.#sockets.has(nsp)) this.#kicked(data[1]);
    });
    this.#unwatch = watchWaking((how) => this.wake(how), this.#timers);
  }

  /**
   * The socket of a namespace. It is connected by its connect().
   *
   * @param {string} nsp
   * @returns {Socket}
   */
  of(nsp) {
    const known = this.#sockets.get(nsp);
    if (known) return known.socket;
    const auth = (/** @type {(auth: object) => void} */ give) => this.#authenticate(give);
    const socket = this.#reconnector.manager.socket(nsp, { ...this.stock, ...(this.#around.credentials && { auth }) });
    const record = { socket, refused: false };
    this.#sockets.set(nsp, record);
    presenceOf(socket);
    socket.on("connect", () => {
      record.refused = false;
      this.#reason = "connect";
      this.#kick = null;
      this.#reconnector.joined();
      this.#tell("connected");
    });
    socket.on("connect_error", (error) => {
      if (!socket.active) this.#refused(record, error);
    });
    socket.on("disconnect", (reason) => this.#left(reason));
    if (this.renews) {
      socket.on("refresh_token", (detail, answer) => void this.#refresh(socket, detail, answer));
    }
    return socket;
  }

  connect() {
    for (const { socket } of this.#sockets.values()) socket.connect();
  }

  reconnect() {
    this.#reconnector.restart();
  }

  /** @param {import("./waking.js").Wake} how */
  wake(how) {
    this.#reconnector.wake(how);
  }

  signOut() {
    this.#tell("signed-out");
    for (const { socket } of this.#sockets.values()) socket.disconnect();
    this.#around.onSignedOut?.();
  }

  close() {
    this.#unwatch();
    this.#tell("closed");
    for (const { socket } of this.#sockets.values()) socket.disconnect();
    this.#reconnector.end();
  }

  // --- credentials ---

  /** @param {(auth: object) => void} give */
  async #authenticate(give) {
    const { engine } = this.#reconnector.manager;
    const current = () => engine === this.#reconnector.manager.engine && engine.readyState === "open";
    if (this.#asked?.engine !== engine || this.#asked.reason !== this.#reason) {
      this.#asked = { engine, reason: this.#reason, auth: this.#credentials({ reason: this.#reason }) };
    }
    const asked = this.#asked; // for all namespaces that connect now
    try {
      const auth = await asked.auth;
      if (!current()) return;
      if (auth === null) this.signOut();
      else give(auth);
    } catch (error) {
      if (current()) this.#reconnector.fail(asError(error));
    } finally {
      if (this.#asked === asked) this.#asked = null;
    }
  }

  /** @param {TokenRequest} request */
  async #credentials(request) {
    return this.#around.credentials ? this.#around.credentials(request) : {};
  }

  /**
   * Answer the server, which wants a new token.
   *
   * @param {Socket} socket
   * @param {{ expires_in?: number }} detail
   * @param {(answer: unknown) => void} answer
   */
  async #refresh(socket, detail, answer) {
    const { id } = socket;
    for (let tries = 1; tries <= TRIES && socket.id === id; tries++) {
      try {
        const auth = await this.#credentials({ reason: "refresh", expiresIn: detail?.expires_in });
        if (socket.id === id) answer(auth); // on another connection it would answer another question
        return;
      } catch {
        await new Promise((resolve) => this.#timers.set(() => resolve(undefined), PAUSE));
      }
    }
    // No answer: the server ends the connection after its grace, and getToken() is asked when it is opened again.
  }

  /**
   * @param {{ socket: Socket, refused: boolean }} record
   * @param {Error & { data?: any }} error
   */
  #refused(record, error) {
    const reason = REASONS.get(error.data?.code);
    if (reason && this.renews && !record.refused) {
      record.refused = true; // a token that is refused when it is new does not become better
      this.#reason = reason;
      record.socket.connect();
      return;
    }
    this.#reason = reason ?? "connect";
    record.refused = false;
    if (this.#isIdle) this.#tell(reason === "kicked" ? "kicked" : "refused", { error });
  }

  /** @param {Kick} kick */
  #kicked(kick) {
    kick = { reason: kick?.reason ?? "", reconnect: Boolean(kick?.reconnect) };
    this.#kick = kick;
    if (kick.reconnect) this.#reason = "kicked";
    this.#around.onKicked?.(kick);
  }

  /** @param {string} reason */
  #left(reason) {
    if (!this.#isIdle || this.#isOver) return;
    const kicked = reason === "io server disconnect" && this.#kick && !this.#kick.reconnect;
    this.#tell(kicked ? "kicked" : "idle");
  }

  get #isIdle() {
    return ![...this.#sockets.values()].some(({ socket }) => socket.active);
  }

  get #isOver() {
    return ["signed-out", "closed", "kicked", "refused"].includes(this.status.get().state);
  }

  /**
   * @param {Status["state"]} state
   * @param {{ retryAt?: number, error?: Error }} [detail]
   */
  #tell(state, detail) {
    this.status.set(this.#status(state, detail));
  }

  /**
   * @param {Status["state"]} state
   * @param {{ retryAt?: number, error?: Error & { data?: unknown } }} [detail]
   * @returns {Status}
   */
  #status(state, { retryAt, error } = {}) {
    return {
      state,
      host: this.#hosts.current.url,
      isMain: this.#hosts.isMain,
      failures: this.#reconnector?.failures ?? 0,
      retryAt,
      error: error && { message: error.message, data: error.data },
      kick: state === "kicked" ? (this.#kick ?? undefined) : undefined,
      runsIn: this.#around.runsIn,
    };
  }
}

/** @param {unknown} error */
const asError = (error) => (error instanceof Error ? error : new Error(String(error)));

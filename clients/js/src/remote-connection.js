import { TabServer } from "./tab-server.js";
import { Observable } from "./observable.js";
import { presenceOf } from "./presence.js";
import { RemoteSocket } from "./remote-socket.js";
import { timersOf } from "./timers.js";
import { watchWaking } from "./waking.js";

/** @typedef {import("../types/index.js").Place} Place */
/** @typedef {{ post(message: object): void, end(): void }} Link */

/** Milliseconds that the successor of a worker has to say hello; what is tried next has twice as long. */
const HELLO = 1_000;

/**
 * @typedef {object} PageSide
 * @property {"worker" | "shared-worker"} runIn
 * @property {typeof import("socket.io-client").Manager} Manager for where no worker can be had
 * @property {((request: import("../types/index.js").TokenRequest) => Promise<object | null>) | null} credentials
 * @property {boolean} renews
 * @property {(kick: import("../types/index.js").Kick) => void} [onKicked]
 * @property {() => void} [onSignedOut]
 * @property {string} [session]
 * @property {string} [clientUrl]
 * @property {() => Worker | SharedWorker} [worker]
 */

/** A connection that is in a worker; where the browser has none of that kind, in the next best place. */
export class RemoteConnection {
  /** @type {Map<string, RemoteSocket>} */
  #sockets = new Map();
  /** @type {Place[]} the places that are still to be tried */
  #places;
  /** @type {Link | null} */
  #link = null;
  /** @type {object[] | null} what a worker was told that has not answered yet: the next one is told, too */
  #log = [];
  /** @type {number | undefined} the timer of a worker that has not said hello yet */
  #greeting;
  /** @type {string | undefined} */
  #lock;
  #release = () => {};
  /** @type {string | undefined} */
  #workerLock;
  #unwatch;
  #closed = false;
  #settings;
  #page;

  /**
   * @param {import("./connection.js").Settings} settings
   * @param {PageSide} page
   */
  constructor(settings, page) {
    if (settings.stock?.parser) {
      throw new TypeError("a parser cannot be handed to a worker: write a worker with it, see the option worker");
    }
    this.#settings = settings;
    this.#page = page;
    const nextBest = page.runIn === "shared-worker" && !page.worker ? ["worker", "page"] : ["page"];
    this.#places = /** @type {Place[]} */ ([page.runIn, ...nextBest]);
    this.status = new Observable(
      /** @type {import("../types/index.js").Status} */ ({
        state: "idle",
        host: settings.hosts[0],
        isMain: true,
        failures: 0,
        runsIn: page.runIn,
      }),
    );
    this.#unwatch = watchWaking((how) => this.#woke(how), timersOf());
    globalThis.addEventListener?.("pagehide", this.#hidden);
    void this.#begin();
  }

  /** @param {string} nsp */
  of(nsp) {
    let socket = this.#sockets.get(nsp);
    if (!socket) {
      const { ackTimeout, retries } = this.#settings.stock ?? {};
      const acksFail = ackTimeout !== undefined || Boolean(retries);
      socket = new RemoteSocket(nsp, (message) => this.#post(message), acksFail);
      this.#sockets.set(nsp, socket);
      presenceOf(socket);
    }
    return socket;
  }

  connect() {
    for (const socket of this.#sockets.values()) socket.connect();
  }

  reconnect() {
    this.#post({ type: "reconnect" });
  }

  signOut() {
    this.#post({ type: "signOut" });
  }

  close() {
    if (this.#closed) return;
    for (const socket of this.#sockets.values()) socket.disconnect();
    this.#closed = true;
    this.#unwatch();
    globalThis.removeEventListener?.("pagehide", this.#hidden);
    this.#post({ type: "bye" });
    this.#release();
    this.status.set({ ...this.status.get(), state: "closed" });
  }

  // --- the worker ---

  /** @param {object} message */
  #post(message) {
    this.#log?.push(message);
    if (this.#greeting === undefined) this.#link?.post(message);
  }

  async #begin() {
    await this.#takeLock();
    this.#log?.unshift(this.#opening());
    this.#next();
  }

  #opening() {
    const { credentials, renews } = this.#page;
    return { type: "open", settings: this.#settings, asks: !!credentials, renews, lock: this.#lock };
  }

  /**
   * Wait for the death of the worker, by the lock that it holds, and start another.
   *
   * @param {string} lock
   */
  async #watchWorker(lock) {
    if (this.#workerLock === lock) return;
    this.#workerLock = lock;
    await navigator.locks.request(lock, { mode: "shared" }, () => {});
    if (this.#workerLock !== lock || this.#closed) return;
    for (const socket of this.#sockets.values()) socket.lost();
    this.#log = [this.#opening()];
    this.#link = null;
    for (const socket of this.#sockets.values()) if (socket.active) socket.attach();
    this.#greet(HELLO);
  }

  /**
   * Start a worker in the place of one that has died. For a moment the browser still gives the dead one to who asks for
   * it: so nothing is told to a worker that has not said hello.
   *
   * @param {number} patience milliseconds until another one is started
   */
  #greet(patience) {
    this.#link?.end();
    try {
      this.#link = this.#start(this.#page.runIn);
    } catch {
      return this.#next();
    }
    this.#greeting = timersOf().set(() => {
      if (!this.#closed) this.#greet(2 * patience);
    }, patience);
    this.#link.post({ type: "hello" });
  }

  /** Tell a worker everything that the one before it was told, or should have been. */
  #tell() {
    if (this.#greeting !== undefined) timersOf().clear(this.#greeting);
    this.#greeting = undefined;
    for (const message of this.#log ?? []) this.#link?.post(message);
  }

  /** Hold a lock while this page lives: whoever waits for it learns that the page has gone, even if it crashed. */
  async #takeLock() {
    if (this.#page.runIn !== "shared-worker" || !globalThis.navigator?.locks) return;
    const name = `rtframework:${crypto.randomUUID()}`;
    await new Promise((taken) => {
      void navigator.locks.request(name, () => {
        taken(undefined);
        return new Promise((release) => (this.#release = () => release(undefined)));
      });
    });
    this.#lock = name;
  }

  /** @returns {void} */
  #next() {
    const place = this.#places.shift();
    if (place === undefined) return;
    if (place !== this.#page.runIn)
      console.info(`rtframework: no ${this.#page.runIn} here, the connection is in: ${place}`);
    try {
      this.#link = this.#start(place);
    } catch {
      return this.#next(); // there is no such worker, or a policy of the page forbids it
    }
    this.#tell();
  }

  /**
   * @param {Place} place
   * @returns {Link}
   */
  #start(place) {
    if (place === "page") {
      const { port1, port2 } = new MessageChannel();
      new TabServer(this.#page.Manager, "page", { timers: timersOf() }).add(port1);
      return this.#listen(port2, () => port2.close());
    }
    const worker =
      this.#page.worker?.() ?? (place === "worker" ? startWorker(this.#page) : startShared(this.#page, this.#settings));
    const failed = () => {
      if (this.#log && this.#link?.post === link.post) this.#next();
    };
    worker.onerror = failed;
    const link =
      "port" in worker
        ? this.#listen(worker.port, () => worker.port.close())
        : this.#listen(worker, () => worker.terminate());
    return link;
  }

  /**
   * @param {MessagePort | Worker} port
   * @param {() => void} end
   * @returns {Link}
   */
  #listen(port, end) {
    const link = { post: (/** @type {object} */ message) => port.postMessage(message), end };
    port.onmessage = ({ data }) => {
      if (this.#link === link) this.#receive(data);
    };
    return link;
  }

  /** @param {any} message */
  #receive(message) {
    switch (message.type) {
      case "hello":
        return this.#greeting === undefined ? undefined : this.#tell();
      case "ready":
        this.#log = null;
        if (message.lock && globalThis.navigator?.locks) void this.#watchWorker(message.lock);
        return this.status.set(message.status);
      case "failed":
        return this.#log ? this.#next() : undefined;
      case "status":
        return this.#closed ? undefined : this.status.set(message.status);
      case "ask":
        return void this.#answer(message);
      case "kicked":
        return this.#page.onKicked?.(message.kick);
      case "signedOut":
        return this.#page.onSignedOut?.();
      case "ping":
        return this.#post({ type: "pong" });
      case "gone":
        return this.#again();
      case "closed":
        return this.#closed ? this.#link?.end() : undefined;
      default:
        this.#sockets.get(message.nsp)?.receive(message);
    }
  }

  /** @param {{ id: number, request: import("../types/index.js").TokenRequest }} message */
  async #answer({ id, request }) {
    try {
      this.#post({ type: "credentials", id, auth: await this.#page.credentials?.(request) });
    } catch (error) {
      this.#post({ type: "credentials", id, error: error instanceof Error ? error.message : String(error) });
    }
  }

  // --- the page ---

  /** @param {import("./waking.js").Wake} how */
  #woke(how) {
    if (how === "restored") this.#again();
    else this.#post({ type: "wake", how });
  }

  /** The page goes into the browser's cache, or for good. */
  #hidden = (/** @type {{ persisted?: boolean }} */ { persisted }) => {
    this.#post({ type: "bye" });
    this.#release();
    if (persisted) for (const socket of this.#sockets.values()) socket.lost();
  };

  /** The worker has let go of this page, which is here after all. */
  async #again() {
    for (const socket of this.#sockets.values()) socket.lost();
    await this.#takeLock();
    this.#post(this.#opening());
    for (const socket of this.#sockets.values()) if (socket.active) socket.attach();
  }
}

/** @param {PageSide} page */
function startWorker({ clientUrl }) {
  const client = clientAddress(clientUrl);
  return client
    ? new Worker(plainWorker(client), { type: "module" })
    : new Worker(new URL("./worker-bundled.js", import.meta.url), { type: "module" });
}

/**
 * @param {PageSide} page
 * @param {import("./connection.js").Settings} settings
 */
function startShared({ clientUrl, session = "" }, settings) {
  // One worker for each name: other hosts, or another session, are another connection.
  const name = `rtframework ${JSON.stringify([settings.hosts, settings.path, session])}`;
  const client = clientAddress(clientUrl);
  return client
    ? new SharedWorker(plainWorker(client), { type: "module", name })
    : new SharedWorker(new URL("./worker-bundled.js", import.meta.url), { type: "module", name });
}

/** @param {string} client */
function plainWorker(client) {
  const here = import.meta.url; // not in one expression with the name: bundlers would take it along
  const url = new URL("worker-plain.js", here);
  url.searchParams.set("client", client);
  return url;
}

/**
 * Where the page has socket.io-client: by the option, or by the page's import map. Pages of a bundler have none.
 * Not by import.meta.resolve(), which bundlers take for theirs.
 *
 * @param {string} [given]
 */
function clientAddress(given) {
  if (given !== undefined) return new URL(given, location.href).href;
  for (const { textContent } of document.querySelectorAll('script[type="importmap"]')) {
    const found = JSON.parse(textContent || "{}").imports?.["socket.io-client"];
    if (found) return new URL(found, document.baseURI).href;
  }
}

import { delayAfter, isLocal, isReachable, spread } from "./hosts.js";

/** @typedef {import("socket.io-client").Manager} Manager */

/** Failures in a row after which, and after as many again, it is asked whether there is a network at all. */
const FAILURES = 3;
/** Milliseconds for that question. */
const CHECK_TIMEOUT = 5_000;
/** Milliseconds that a server has, after a wake-up, to send what it has sent meanwhile. */
const GRACE = 2_000;
/** Milliseconds of an attempt to connect, after which a wake-up begins another. */
const STALE = 2_000;

/**
 * @typedef {object} ReconnectorOptions
 * @property {import("./hosts.js").Hosts} hosts
 * @property {import("./timers.js").Timers} timers
 * @property {import("./hosts.js").Retry} retry
 * @property {number} recheck milliseconds between two looks for a network
 * @property {number | false} returnAfter milliseconds on a backup after which the main host is tried
 * @property {string} check the path of a small page
 * @property {() => boolean} wanted whether any socket is to be connected
 * @property {(state: "idle" | "connecting" | "waiting" | "offline", detail: { retryAt?: number, error?: Error }) => void} tell
 */

/**
 * Keeps the connection of a Manager: opens it at one host or another, notices that it is dead, opens it again.
 * The Manager's own reconnection is off.
 */
export class Reconnector {
  failures = 0;
  #open = false; // Engine.IO
  #joined = false; // a namespace has let us in since
  #ended = false;
  #heard = 0;
  #rhythm = { interval: 25_000, timeout: 20_000 };
  #began = 0;
  /** @type {{ retry?: number, silence?: number, check?: number, return?: number }} */
  #timer = {};
  /** @type {"idle" | "opening" | "open" | "waiting" | "offline"} */
  #state = "idle";
  #question = 0; // numbers the checks of the network: the answer to an old one is not listened to
  #atOnce = false;
  /** @type {Manager | null} */
  #probe = null;

  /**
   * @param {typeof import("socket.io-client").Manager} Manager
   * @param {Partial<import("socket.io-client").ManagerOptions>} settings
   * @param {ReconnectorOptions} options
   */
  constructor(Manager, settings, options) {
    this.options = options;
    this.settings = settings;
    this.Manager = Manager;
    const manager = new Manager({ ...settings, autoConnect: false, reconnection: false });
    this.manager = manager;
    const open = manager.open.bind(manager);
    manager.open = (done) => {
      const before = manager.engine;
      this.#pointAt(manager, options.hosts.current);
      open(done);
      if (manager.engine !== before) this.#watch(manager.engine);
      return manager;
    };
    manager.on("open", () => this.#opened());
    manager.on("error", (error) => this.#failed(error));
    manager.on("close", (reason) => this.#closed(reason));
  }

  /** A socket was let in. */
  joined() {
    this.failures = 0;
    if (this.#joined) return;
    this.#joined = true;
    this.#planReturn();
  }

  /** Cut the connection, and open it again at once. */
  restart() {
    if (!this.#isWanted) return;
    this.#atOnce = true;
    if (this.#open) return this.#cut();
    this.#atOnce = false;
    if (this.#state === "opening") this.#abandon();
    this.failures = 0;
    this.#attempt();
  }

  /**
   * End an attempt that cannot be gone on with, as when there is no token, and try again later.
   *
   * @param {Error} error
   */
  fail(error) {
    if (this.#open) this.#cut(error);
  }

  /** @param {import("./waking.js").Wake} how */
  wake(how) {
    if (!this.#isWanted) return;
    if (how === "offline") {
      if (isLocal(this.options.hosts.current)) return;
      if (this.#open) this.#cut();
      else if (this.#state === "waiting") this.#waitForNetwork();
      return;
    }
    if (this.#open) return how === "restored" ? this.restart() : this.#checkAlive();
    if (this.#state === "opening" && Date.now() - this.#began < STALE) return;
    this.restart();
  }

  end() {
    this.#ended = true;
    this.#forget();
    this.#probe?.engine?.close();
    this.#probe = null;
  }

  // --- attempts ---

  #attempt() {
    this.#clear("retry");
    if (!this.#isWanted) return this.#idle();
    this.manager.open();
  }

  /**
   * @param {Manager} manager
   * @param {import("./hosts.js").Host} host
   */
  #pointAt(manager, { hostname, port, secure }) {
    Object.assign(manager.opts, { hostname, port, secure });
  }

  /** @param {Manager["engine"]} engine */
  #watch(engine) {
    this.#question++;
    this.#clear("retry");
    this.#state = "opening";
    this.#began = Date.now();
    this.#joined = false;
    this.options.tell("connecting", {});
    engine.on("handshake", ({ pingInterval, pingTimeout }) => {
      this.#rhythm = { interval: pingInterval, timeout: pingTimeout };
    });
    engine.on("packet", () => {
      if (engine === this.manager.engine) this.#heard = Date.now();
    });
  }

  #opened() {
    this.#open = true;
    this.#state = "open";
    this.#heard = Date.now();
    this.#listen();
  }

  /** @param {Error} error */
  #failed(error) {
    if (this.#open || this.#state !== "opening") return; // of an open connection: "close" follows
    this.failures++;
    this.options.hosts.next();
    this.#retry(error);
  }

  /** @param {string} reason */
  #closed(reason) {
    if (!this.#open) return this.#idle(); // every socket was disconnected
    const joined = this.#joined;
    const atOnce = this.#atOnce;
    this.#open = this.#joined = this.#atOnce = false;
    this.#forget();
    if (!this.#isWanted) return this.#idle();
    if (atOnce) {
      this.failures = 0;
      return queueMicrotask(() => this.#attempt()); // when the sockets have heard of it, too
    }
    if (!joined) {
      this.failures++;
      if (!this.#why) this.options.hosts.next(); // else it was not the host's fault
    }
    this.#retry(this.#why ?? new Error(reason));
  }

  /** @param {Error} [error] */
  #retry(error) {
    this.#why = undefined;
    if (!this.#isWanted) return this.#idle();
    if (!isOnline() && !this.options.hosts.all.some(isLocal)) return this.#waitForNetwork(error);
    if (this.failures && this.failures % FAILURES === 0) return void this.#checkNetwork(error);
    this.#wait(error);
  }

  /** @param {Error} [error] */
  #wait(error) {
    const { hosts, retry } = this.options;
    const delay = delayAfter(this.failures, hosts.all.length, retry);
    this.#state = "waiting";
    this.#clear("retry");
    this.#timer.retry = this.options.timers.set(() => this.#attempt(), delay);
    this.options.tell("waiting", { retryAt: Date.now() + delay, error });
  }

  /**
   * Ask whether there is a network. If so, go on; if not, wait until there is.
   *
   * @param {Error} [error]
   */
  async #checkNetwork(error) {
    const question = ++this.#question;
    this.#state = "waiting";
    this.options.tell("waiting", { error });
    const { hosts, check, timers } = this.options;
    const reachable = await isReachable(hosts.all, check, CHECK_TIMEOUT, timers);
    if (question !== this.#question || this.#ended) return;
    if (reachable) this.#wait(error);
    else this.#waitForNetwork(error);
  }

  /**
   * Wait for the network. The browser may not say that it is back, e.g. if all servers were down: so look, slowly.
   *
   * @param {Error} [error]
   */
  #waitForNetwork(error) {
    const { hosts, check, recheck, timers } = this.options;
    const question = ++this.#question;
    const look = async () => {
      const reachable = await isReachable(hosts.all, check, CHECK_TIMEOUT, timers);
      if (question !== this.#question || this.#ended) return;
      if (reachable) this.restart();
      else this.#timer.retry = timers.set(look, spread(recheck, 0.2));
    };
    this.#state = "offline";
    this.#clear("retry");
    this.#timer.retry = timers.set(look, spread(recheck, 0.2));
    this.options.tell("offline", { error });
  }

  // --- is it alive? ---

  /** Cut it when the server has missed its time; the stock client does that, too, with timers that may sleep. */
  #listen() {
    this.#clear("silence");
    const left = this.#heard + this.#rhythm.interval + this.#rhythm.timeout - Date.now();
    const look = () => (this.#isDead() ? this.#cutDead() : this.#listen());
    this.#timer.silence = this.options.timers.set(look, Math.max(left, 0) + 50);
  }

  #isDead() {
    return Date.now() >= this.#heard + this.#rhythm.interval + this.#rhythm.timeout;
  }

  #cutDead() {
    this.#atOnce = true;
    this.#cut();
  }

  /** After a wake-up: a server that is alive has sent a ping in time. */
  #checkAlive() {
    if (this.#isDead()) return this.#cutDead();
    this.#clear("check");
    const asked = Date.now();
    const wait = Math.max(this.#heard + this.#rhythm.interval + GRACE - asked, GRACE);
    const look = () => {
      if (this.#open && this.#heard < asked) this.#cutDead();
    };
    this.#timer.check = this.options.timers.set(look, wait);
  }

  /** @type {Error | undefined} */
  #why;

  /** @param {Error} [error] */
  #cut(error) {
    this.#why = error;
    const { engine } = this.manager;
    engine.transport.close(); // "transport close", at once and whatever still waits to be sent
    if (this.#open) engine.close(); // the transport was paused for an upgrade
  }

  #abandon() {
    const { engine } = this.manager;
    this.#state = "idle";
    /** @type {any} */ (engine).emit("error", new Error("abandoned")); // the Manager lets go of it
    engine.close();
  }

  // --- back to the main host ---

  #planReturn() {
    const { hosts, returnAfter, timers } = this.options;
    this.#clear("return");
    if (hosts.isMain || returnAfter === false) return;
    this.#timer.return = timers.set(() => this.#tryMain(), spread(returnAfter, 0.5));
  }

  /** Shake hands with the main host, beside the connection to the backup; move if it answers. */
  #tryMain() {
    const probe = new this.Manager({ ...this.settings, autoConnect: false, reconnection: false, upgrade: false });
    this.#probe = probe;
    this.#pointAt(probe, this.options.hosts.main);
    probe.open((error) => {
      if (this.#probe !== probe) return;
      this.#probe = null;
      if (!error) probe.engine.close();
      if (!this.#open || this.options.hosts.isMain) return;
      if (error) return this.#planReturn();
      this.options.hosts.toMain();
      this.#atOnce = true;
      this.#cut();
    });
  }

  get #isWanted() {
    return !this.#ended && this.options.wanted();
  }

  #idle() {
    this.#state = "idle";
    this.#forget();
    // Later: a socket that was refused may connect again at once, with a new token.
    queueMicrotask(() => this.#state === "idle" && !this.#isWanted && this.options.tell("idle", {}));
  }

  #forget() {
    for (const name of /** @type {Array<"retry">} */ (Object.keys(this.#timer))) this.#clear(name);
    this.#question++;
  }

  /** @param {"retry" | "silence" | "check" | "return"} name */
  #clear(name) {
    this.options.timers.clear(this.#timer[name]);
    this.#timer[name] = undefined;
  }
}

const isOnline = () => typeof navigator === "undefined" || navigator.onLine !== false;

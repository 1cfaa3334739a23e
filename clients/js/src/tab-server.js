import { Connection } from "./connection.js";
import { presenceOf } from "./presence.js";

/** @typedef {import("socket.io-client").Socket} Socket */
/** @typedef {import("../types/index.js").TokenRequest} TokenRequest */
/** @typedef {Pick<MessagePort, "postMessage" | "onmessage">} Port */
/** @typedef {{ post(message: object): void, missed: number }} Tab */
/** @typedef {{ socket: Socket, tabs: Map<Tab, number>, acks: Map<number, { answer: Function, silent: number }> }} Binding */
/**
 * @typedef {object} Question
 * @property {TokenRequest} request
 * @property {Set<Tab>} tried
 * @property {Promise<object | null>} answer
 * @property {(auth: object | null) => void} give
 * @property {(error: Error) => void} fail
 */

/** Milliseconds after which another tab is asked for credentials as well. */
const ASK_ANOTHER = 10_000;
/** Where there are no locks: milliseconds between two pings to a tab, and how many it may leave without an answer. */
const PING_INTERVAL = 20_000;
const MAX_MISSED = 3;
/** The longest time of a timer: an ack without a timeout fails when the connection is lost. */
const LONGEST = 2 ** 31 - 1;

/** Holds a connection for tabs that speak to it over ports: in a Worker, in a SharedWorker, or beside the page. */
export class TabServer {
  /** @type {Connection | null} */
  #connection = null;
  /** @type {Tab[]} the one that somebody looked at last comes first */
  #tabs = [];
  /** @type {Map<string, Binding>} */
  #bindings = new Map();
  /** @type {Map<number, Question>} */
  #questions = new Map();
  #ids = 0;
  #manager;
  /** @type {string | undefined} a lock that is held while this worker lives, so that the tabs learn when it has died */
  #lock;

  /**
   * @param {typeof import("socket.io-client").Manager | Promise<typeof import("socket.io-client").Manager>} Manager
   * @param {import("../types/index.js").Place} runsIn
   * @param {{ stock?: Record<string, unknown>, timers?: import("./timers.js").Timers }} [own]
   */
  constructor(Manager, runsIn, own = {}) {
    this.runsIn = runsIn;
    this.own = own;
    this.#manager = Promise.resolve(Manager);
    if (runsIn !== "shared-worker" || !globalThis.navigator?.locks) return;
    const lock = `rtframework:${crypto.randomUUID()}`;
    const held = new Promise((taken) => {
      void navigator.locks.request(lock, () => {
        taken(undefined);
        return new Promise(() => {});
      });
    });
    this.#manager = Promise.all([Manager, held]).then(([Manager]) => Manager);
    this.#lock = lock;
  }

  /** @param {Port} port */
  add(port) {
    const tab = { post: (/** @type {object} */ message) => port.postMessage(message), missed: 0 };
    port.onmessage = ({ data }) => {
      this.#manager.then(
        (Manager) => this.#receive(Manager, tab, data),
        (error) => tab.post({ type: "failed", message: String(error) }),
      );
    };
  }

  /**
   * @param {typeof import("socket.io-client").Manager} Manager
   * @param {Tab} tab
   * @param {any} message
   */
  #receive(Manager, tab, message) {
    tab.missed = 0;
    if (message.type === "hello") return tab.post({ type: "hello" });
    const connection = message.type === "open" ? this.#open(Manager, tab, message) : this.#connection;
    if (!connection || !this.#tabs.includes(tab)) return;
    switch (message.type) {
      case "attach":
        return this.#attach(tab, message);
      case "detach":
        return this.#detach(tab, message.nsp);
      case "emit":
        return this.#emit(tab, message);
      case "answer":
        return this.#answer(message);
      case "credentials":
        return this.#credentials(message);
      case "wake":
        if (message.how === "visible") this.#tabs = [tab, ...this.#tabs.filter((each) => each !== tab)];
        return connection.wake(message.how);
      case "reconnect":
        return connection.reconnect();
      case "signOut":
        return connection.signOut();
      case "bye":
        this.#gone(tab);
        return tab.post({ type: "closed" });
    }
  }

  /**
   * @param {typeof import("socket.io-client").Manager} Manager
   * @param {Tab} tab
   * @param {{ settings: import("./connection.js").Settings, asks: boolean, renews: boolean, lock?: string }} message
   */
  #open(Manager, tab, { settings, asks, renews, lock }) {
    this.#tabs = [tab, ...this.#tabs.filter((each) => each !== tab)];
    if (!this.#connection) {
      const stock = { ...settings.stock, ...this.own.stock };
      this.#connection = new Connection(
        { ...settings, stock },
        {
          Manager,
          runsIn: this.runsIn,
          timers: this.own.timers,
          renews,
          credentials: asks ? (request) => this.#ask(request) : null,
          onKicked: (kick) => this.#tellAll({ type: "kicked", kick }),
          onSignedOut: () => this.#tellAll({ type: "signedOut" }),
        },
      );
      this.#connection.status.subscribe((status) => this.#tellAll({ type: "status", status }));
    }
    tab.post({ type: "ready", status: this.#connection.status.get(), lock: this.#lock });
    if (lock !== undefined)
      void navigator.locks.request(lock, () => this.#gone(tab)); // when the tab has let go of it
    else if (this.runsIn === "shared-worker") this.#ping(tab);
    return this.#connection;
  }

  /** @param {object} message */
  #tellAll(message) {
    for (const tab of this.#tabs) tab.post(message);
  }

  // --- sockets ---

  /** @param {string} nsp */
  #bindingOf(nsp) {
    const known = this.#bindings.get(nsp);
    if (known) return known;
    const socket = /** @type {Connection} */ (this.#connection).of(nsp);
    /** @type {Binding} */
    const binding = { socket, tabs: new Map(), acks: new Map() };
    this.#bindings.set(nsp, binding);
    const tell = (/** @type {object} */ message) => {
      for (const [tab, turn] of binding.tabs) tab.post({ ...message, nsp, turn });
    };
    socket.on("connect", () => tell({ type: "connect", id: socket.id, recovered: socket.recovered }));
    socket.on("disconnect", (reason) => {
      binding.acks.clear();
      tell({ type: "disconnect", reason, active: socket.active });
    });
    socket.on("connect_error", (/** @type {Error & { data?: unknown }} */ { message, data }) => {
      tell({ type: "connect_error", message, data, active: socket.active });
    });
    socket.onAny((...args) => {
      const answer = typeof args.at(-1) === "function" ? args.pop() : undefined;
      if (answer && args[0] === "refresh_token" && this.#isRenewing) return;
      const ack = answer && ++this.#ids;
      if (ack) binding.acks.set(ack, { answer, silent: 0 });
      tell({ type: "event", args, ack });
    });
    return binding;
  }

  get #isRenewing() {
    return this.#connection?.renews;
  }

  /**
   * @param {Tab} tab
   * @param {{ nsp: string, turn: number }} message
   */
  #attach(tab, { nsp, turn }) {
    const { socket, tabs } = this.#bindingOf(nsp);
    tabs.set(tab, turn);
    if (!socket.active) return void socket.connect();
    if (!socket.connected) return;
    tab.post({ type: "connect", nsp, turn, id: socket.id, recovered: socket.recovered });
    for (const [room, list] of presenceOf(socket).rooms) {
      if (list.get().length) tab.post({ type: "event", nsp, turn, args: ["presence", { room, members: list.get() }] });
    }
  }

  /**
   * @param {Tab} tab
   * @param {string} nsp
   */
  #detach(tab, nsp) {
    const binding = this.#bindings.get(nsp);
    if (binding?.tabs.delete(tab) && binding.tabs.size === 0) binding.socket.disconnect();
  }

  /**
   * @param {Tab} tab
   * @param {{ nsp: string, args: any[], ack?: number, flags: import("./remote-socket.js").Flags }} message
   */
  #emit(tab, { nsp, args, ack, flags }) {
    let { socket } = this.#bindingOf(nsp);
    const [event, ...others] = args;
    if (flags.volatile) socket = socket.volatile;
    if (flags.compress === false) socket = socket.compress(false);
    if (ack === undefined) return void socket.emit(event, ...others);
    const timeout = flags.timeout ?? Number(this.#connection?.stock.ackTimeout ?? LONGEST);
    const done = (/** @type {Error | null} */ error, /** @type {any[]} */ ...answer) => {
      tab.post({ type: "ack", nsp, ack, error: error?.message, args: error ? [] : answer });
    };
    socket.timeout(timeout).emit(event, ...others, done);
  }

  /** @param {{ nsp: string, ack: number, args?: any[], silent?: boolean }} message the first tab that answers counts */
  #answer({ nsp, ack, args, silent }) {
    const binding = this.#bindings.get(nsp);
    const waiting = binding?.acks.get(ack);
    if (!binding || !waiting) return;
    if (silent && ++waiting.silent < binding.tabs.size) return;
    binding.acks.delete(ack);
    if (args) waiting.answer(...args);
  }

  // --- credentials ---

  /**
   * Ask a tab, and after some time another.
   *
   * @param {TokenRequest} request
   * @returns {Promise<object | null>}
   */
  #ask(request) {
    const open = [...this.#questions.values()].find((question) => question.request.reason === request.reason);
    if (open) return open.answer; // of a connection that has ended meanwhile, while all tabs were frozen
    const id = ++this.#ids;
    /** @type {Pick<Question, "give" | "fail">} */
    let settle = { give: () => {}, fail: () => {} };
    const answer = new Promise((give, fail) => (settle = { give, fail }));
    this.#questions.set(id, { request, tried: new Set(), answer, ...settle });
    this.#askNext(id);
    return answer;
  }

  /** @param {number} id */
  #askNext(id) {
    const question = this.#questions.get(id);
    if (!question) return;
    const tab = this.#tabs.find((each) => !question.tried.has(each));
    if (tab) {
      question.tried.add(tab);
      tab.post({ type: "ask", id, request: question.request });
      setTimeout(() => this.#askNext(id), ASK_ANOTHER);
    } else if (this.#tabs.length === 0) {
      this.#questions.delete(id);
      question.fail(new Error("there is no page to ask for a token"));
    }
  }

  /** @param {{ id: number, auth?: object | null, error?: string }} message */
  #credentials({ id, auth, error }) {
    const question = this.#questions.get(id);
    this.#questions.delete(id);
    if (error !== undefined) question?.fail(new Error(error));
    else question?.give(auth ?? null);
  }

  // --- tabs that go ---

  /** @param {Tab} tab */
  #gone(tab) {
    if (!this.#tabs.includes(tab)) return;
    this.#tabs = this.#tabs.filter((each) => each !== tab);
    for (const nsp of this.#bindings.keys()) this.#detach(tab, nsp);
    for (const [id, { tried }] of this.#questions) if (tried.has(tab)) this.#askNext(id);
  }

  /** @param {Tab} tab */
  #ping(tab) {
    setTimeout(() => {
      if (!this.#tabs.includes(tab)) return;
      if (++tab.missed > MAX_MISSED) {
        tab.post({ type: "gone" }); // if it was only frozen, it comes back with this
        this.#gone(tab);
      } else {
        tab.post({ type: "ping" });
        this.#ping(tab);
      }
    }, PING_INTERVAL);
  }
}

/** @type {import("../types/worker.js").serveWorker} */
export function serveWorker({ Manager, ...stock }) {
  const scope = /** @type {any} */ (globalThis);
  const isShared = "onconnect" in scope;
  const server = new TabServer(Manager, isShared ? "shared-worker" : "worker", { stock });
  if (isShared) scope.onconnect = (/** @type {MessageEvent} */ { ports: [port] }) => server.add(port);
  else server.add(scope);
}

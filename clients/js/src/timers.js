/** @typedef {{ set(run: () => void, ms: number): number, clear(id: number | undefined): void }} Timers */

/** The timers of where this runs. In a worker they keep time; a page in the background gets one turn a minute or less.
 * @type {Timers}
 */
export const plainTimers = {
  set: (run, ms) => Number(setTimeout(run, ms)),
  clear: (id) => clearTimeout(id),
};

/** Timers of a page that a Worker keeps. Where the browser refuses the Worker, they are the page's own. */
export class WorkerTimers {
  /** @type {Map<number, { run: () => void, at: number, own?: number }>} */
  #waiting = new Map();
  #last = 0;
  /** @type {Worker | null} */
  #worker = null;

  /** @param {() => Worker} [start] */
  constructor(start = startWorker) {
    try {
      this.#worker = start();
      this.#worker.onmessage = ({ data }) => this.#ring(data);
      this.#worker.onerror = () => this.#doWithout();
    } catch {
      this.#worker = null;
    }
  }

  /**
   * @param {() => void} run
   * @param {number} ms
   */
  set(run, ms) {
    const id = ++this.#last;
    this.#waiting.set(id, { run, at: Date.now() + ms });
    this.#start(id, ms);
    return id;
  }

  /** @param {number | undefined} id */
  clear(id) {
    const waiting = id === undefined ? undefined : this.#waiting.get(id);
    if (id === undefined || !waiting) return;
    this.#waiting.delete(id);
    if (waiting.own !== undefined) clearTimeout(waiting.own);
    else this.#worker?.postMessage({ id });
  }

  /**
   * @param {number} id
   * @param {number} ms
   */
  #start(id, ms) {
    const waiting = this.#waiting.get(id);
    if (!waiting) return;
    if (this.#worker) this.#worker.postMessage({ id, ms });
    else waiting.own = Number(setTimeout(() => this.#ring(id), ms));
  }

  /** @param {number} id */
  #ring(id) {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    waiting?.run();
  }

  #doWithout() {
    this.#worker = null;
    for (const [id, { at }] of this.#waiting) this.#start(id, Math.max(0, at - Date.now()));
  }
}

const startWorker = () => new Worker(new URL("./timer-worker.js", import.meta.url), { type: "module" });

/** @type {WorkerTimers | undefined} */
let shared;

/**
 * The timers for a connection that runs here.
 *
 * @param {"worker" | "page"} [kind]
 * @returns {Timers}
 */
export function timersOf(kind = "worker") {
  if (kind === "page" || typeof document === "undefined" || typeof Worker === "undefined") return plainTimers;
  return (shared ??= new WorkerTimers());
}

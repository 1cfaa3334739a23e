/** @typedef {{ url: string, hostname: string, port: string, secure: boolean }} Host */

/**
 * Read the address of a server. Throws a TypeError unless it is an origin: a path would be taken for a namespace.
 *
 * @param {string} text an origin, e.g. "https://chat.example.org"
 * @param {string} [base] the page's own address, for "" and "/"
 * @returns {Host}
 */
export function parseHost(text, base) {
  const url = new URL(text.replace(/^ws(?=s?:)/, "http"), base);
  if (!/^https?:$/.test(url.protocol) || url.pathname !== "/" || url.search || url.hash) {
    throw new TypeError(`a host is an origin such as "https://chat.example.org", not "${text}"; see the option path`);
  }
  const secure = url.protocol === "https:";
  return { url: url.origin, hostname: url.hostname, port: url.port || (secure ? "443" : "80"), secure };
}

/** The hosts in their order, and the one whose turn it is. The first is the main one, the others are backups. */
export class Hosts {
  #turn = 0;

  /** @param {Host[]} all */
  constructor(all) {
    if (!all.length) throw new TypeError("hosts names no host");
    this.all = all;
  }

  get current() {
    return this.all[this.#turn];
  }

  get main() {
    return this.all[0];
  }

  get isMain() {
    return this.#turn === 0;
  }

  next() {
    this.#turn = (this.#turn + 1) % this.all.length;
  }

  toMain() {
    this.#turn = 0;
  }
}

/** @typedef {{ min: number, max: number, jitter: number }} Retry */

/**
 * The time before the next attempt, in milliseconds. It doubles each time that all hosts have failed once.
 *
 * @param {number} failures attempts that failed since the last connection
 * @param {number} hosts how many hosts take turns
 * @param {Retry} retry
 * @param {() => number} [random]
 */
export function delayAfter(failures, hosts, { min, max, jitter }, random = Math.random) {
  const rounds = Math.min(Math.floor(Math.max(failures - 1, 0) / hosts), 30);
  return spread(Math.min(max, min * 2 ** rounds), jitter, random);
}

/**
 * A time that differs from one client to the next, so that a thousand of them do not come at once.
 *
 * @param {number} time
 * @param {number} jitter a part of it, 0.5 for half of it more or less
 * @param {() => number} [random]
 */
export function spread(time, jitter, random = Math.random) {
  return time * (1 + jitter * (2 * random() - 1));
}

/**
 * Tell whether there is a network: whether one of the hosts answers at all, with whatever status.
 *
 * @param {Host[]} hosts
 * @param {string} path a small page of theirs
 * @param {number} timeout milliseconds for all of them
 * @param {import("./timers.js").Timers} timers
 */
export async function isReachable(hosts, path, timeout, timers) {
  const stop = new AbortController();
  const timer = timers.set(() => stop.abort(), timeout);
  try {
    const settings = { mode: /** @type {const} */ ("no-cors"), cache: /** @type {const} */ ("no-store") };
    await Promise.any(hosts.map(({ url }) => fetch(url + path, { ...settings, signal: stop.signal })));
    return true;
  } catch {
    return false;
  } finally {
    timers.clear(timer);
    stop.abort();
  }
}

/**
 * Tell whether a host is this machine, which needs no network.
 *
 * @param {Host} host
 */
export function isLocal({ hostname }) {
  return hostname === "localhost" || hostname.endsWith(".localhost");
}

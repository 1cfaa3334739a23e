import { thisDevice } from "./device.js";
import { parseHost } from "./hosts.js";

/** @typedef {import("../types/index.js").ConnectOptions} ConnectOptions */

/**
 * Sort the options of connect(): what a connection needs, what is the stock client's, and what only the page can do.
 *
 * @param {ConnectOptions} options
 */
export function sortOptions(options) {
  const { hosts, path, retry, recheck, returnAfter, check, ...others } = options;
  const { auth, getToken, onKicked, onSignedOut, runIn, timers, autoConnect, namespace, ...more } = others;
  const { session, clientUrl, worker, device, ...stock } = more;
  const base = typeof location === "undefined" ? undefined : location.href;
  if (hosts === undefined && base === undefined) throw new TypeError("hosts is missing");
  const urls = (typeof hosts === "string" ? [hosts] : (hosts ?? ["/"])).map((host) => parseHost(host, base).url);
  return {
    settings: /** @type {import("./connection.js").Settings} */ ({
      ...{ hosts: urls, path, retry, recheck, returnAfter, check },
      stock: /** @type {Record<string, unknown>} */ (stock),
    }),
    page: {
      credentials: auth === undefined && !getToken && !device ? null : makeCredentials(auth, getToken, device === true),
      renews: getToken !== undefined,
      onKicked,
      onSignedOut,
    },
    ...{ runIn, timers, autoConnect: autoConnect !== false, namespace: namespace ?? "/", session, clientUrl, worker },
  };
}

/**
 * @param {ConnectOptions["auth"]} auth
 * @param {ConnectOptions["getToken"]} getToken
 * @param {boolean} namesDevice
 * @returns {(request: import("../types/index.js").TokenRequest) => Promise<object | null>}
 */
function makeCredentials(auth, getToken, namesDevice) {
  return async (request) => {
    const device = namesDevice ? thisDevice() : undefined;
    const given = { ...(device && { device }), ...(typeof auth === "function" ? await auth() : auth) };
    if (!getToken) return given;
    const token = await getToken(request);
    if (token === null || token === undefined) return null;
    return typeof token === "string" ? { ...given, token } : { ...given, ...token };
  };
}

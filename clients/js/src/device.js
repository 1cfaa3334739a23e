/** The key in localStorage, shared by all pages of an origin. */
const KEY = "rtframework.device";

/** @typedef {{ id: string, seen?: number }} Device */

let listens = false;

/**
 * What the server is told of this device: an id that is made once, and when the device was here last. Nothing if the
 * browser keeps nothing for the page, since it would be another device each time.
 *
 * @returns {Device | undefined}
 */
export function thisDevice() {
  try {
    const known = read();
    const device = known ?? { id: makeId() };
    write(device.id);
    if (!listens) {
      listens = true;
      addEventListener("pagehide", () => write(device.id));
    }
    return device;
  } catch {
    return undefined;
  }
}

/** @returns {Device | null} */
function read() {
  const text = localStorage.getItem(KEY);
  if (text === null) return null;
  try {
    const { id, seen } = JSON.parse(text);
    return typeof id === "string" && /^[\w.:-]{16,128}$/.test(id) ? { id, seen } : null;
  } catch {
    return null;
  }
}

/** @param {string} id */
function write(id) {
  localStorage.setItem(KEY, JSON.stringify({ id, seen: Date.now() }));
}

/** Not crypto.randomUUID(), which pages without TLS do not have. */
function makeId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * A value as JSON would have it, with its binary parts as they are: what can be posted to a worker, and means the same
 * there. Instances of classes and reactive proxies of frameworks could not be posted, or would lose their toJSON().
 *
 * @param {unknown} value
 * @param {string} [key]
 * @returns {any} undefined for what JSON leaves out
 */
export function toPlain(value, key = "") {
  if (isBinary(value)) return ArrayBuffer.isView(value) ? copyView(value) : value;
  if (typeof (/** @type {any} */ (value)?.toJSON) === "function") value = /** @type {any} */ (value).toJSON(key);
  if (typeof value === "bigint") throw new TypeError("Do not know how to serialize a BigInt");
  if (typeof value === "function" || typeof value === "symbol") return undefined;
  if (typeof value === "number" && !Number.isFinite(value)) return null;
  if (value === null || typeof value !== "object") return value;
  if (value instanceof Number || value instanceof String || value instanceof Boolean) return value.valueOf();
  if (Array.isArray(value)) return value.map((each, number) => toPlain(each, String(number)) ?? null);
  /** @type {Record<string, unknown>} */
  const plain = {};
  for (const [name, each] of Object.entries(value)) {
    const kept = toPlain(each, name);
    if (kept !== undefined) plain[name] = kept;
  }
  return plain;
}

/** @param {unknown} value */
const isBinary = (value) => value instanceof ArrayBuffer || ArrayBuffer.isView(value) || value instanceof Blob;

/**
 * Copy what a view shows, and not the whole buffer behind it.
 *
 * @param {ArrayBufferView} view
 */
function copyView(view) {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength).slice();
}

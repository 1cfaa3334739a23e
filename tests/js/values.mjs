// What JSON lacks, both ways: see driver.mjs.

export function pack(value) {
  if (value === undefined || value === null || typeof value === "function" || typeof value === "symbol") return null;
  if (typeof value === "bigint") return { $bigint: String(value) };
  if (typeof value === "number") return Number.isFinite(value) ? value : { $number: String(value) };
  if (typeof value !== "object") return value;
  if (value instanceof Date) return { $date: value.getTime() };
  if (value instanceof ArrayBuffer) return { $bytes: Buffer.from(value).toString("base64") };
  if (ArrayBuffer.isView(value)) {
    return { $bytes: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64") };
  }
  if (Array.isArray(value)) return value.map(pack);
  if (value instanceof Error) return describe(value);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, pack(item)]));
}

export function unpack(value) {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(unpack);
  const keys = Object.keys(value);
  if (keys.length === 1) {
    if (keys[0] === "$bytes") return Buffer.from(value.$bytes, "base64");
    if (keys[0] === "$date") return new Date(value.$date);
    if (keys[0] === "$number") return Number(value.$number);
    if (keys[0] === "$bigint") return BigInt(value.$bigint);
  }
  return Object.fromEntries(keys.map((key) => [key, unpack(value[key])]));
}

export function describe(error) {
  if (!(error instanceof Error)) return pack(error);
  const found = { name: error.name, message: error.message };
  if (error.data !== undefined) found.data = pack(error.data);
  if (error.type !== undefined) found.type = String(error.type);
  if (error.code !== undefined) found.code = pack(error.code);
  // engine.io-client leaves the HTTP status of a failed poll in `description`, and an ErrorEvent for a websocket.
  const cause = error.description;
  if (typeof cause === "number") found.status = cause;
  else if (cause !== undefined && cause !== null) found.description = String(cause.message ?? cause);
  return found;
}

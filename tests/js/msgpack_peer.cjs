// Encodes and decodes packets with the stock socket.io-msgpack-parser, in Node's and in the browser's build.
//
// stdin:  {"encode": [packet, …], "decode": [hex, …], "expressions": [JS expression of a packet, …]}
// stdout: {"encode": [{"node": hex, "browser": hex}, …], "decode": [{"node": packet, "browser": packet}, …],
//          "expressions": [hex, …]}
// What JSON lacks is written {"$bytes": hex}, {"$date": milliseconds}, {"$number": "NaN"}, {"$undefined": true}.

const path = require("path");
const { createRequire } = require("module");
const fromTests = createRequire(path.join(__dirname, "package.json"));
const parser = fromTests("socket.io-msgpack-parser");
const fromParser = createRequire(fromTests.resolve("socket.io-msgpack-parser"));
const notepack = path.dirname(fromParser.resolve("notepack.io/package.json"));
const browser = {
  encode: require(path.join(notepack, "browser", "encode.js")),
  decode: require(path.join(notepack, "browser", "decode.js")),
};

const hex = (bytes) => Buffer.from(bytes).toString("hex");
const arrayBuffer = (text) => new Uint8Array(Buffer.from(text, "hex")).buffer;

function untag(value, bytes) {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map((item) => untag(item, bytes));
  if ("$bytes" in value) return bytes(value.$bytes);
  if ("$date" in value) return new Date(value.$date);
  if ("$number" in value) return Number(value.$number);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, untag(item, bytes)]));
}

function tag(value) {
  if (value === undefined) return { $undefined: true };
  if (value === null) return null;
  if (typeof value === "number" && (!Number.isFinite(value))) return { $number: String(value) };
  if (typeof value !== "object") return value;
  if (value instanceof Date) return { $date: value.getTime() };
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) return { $bytes: hex(value) };
  if (Array.isArray(value)) return value.map(tag);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, tag(item)]));
}

function decodeInNode(text) {
  const decoder = new parser.Decoder();
  let packet;
  decoder.on("decoded", (decoded) => (packet = decoded));
  decoder.add(Buffer.from(text, "hex"));
  return tag(packet);
}

function encodeInNode(packet) {
  return hex(new parser.Encoder().encode(packet)[0]);
}

const input = JSON.parse(require("fs").readFileSync(0, "utf8"));
const output = {
  encode: input.encode.map((packet) => ({
    node: encodeInNode(untag(packet, (text) => Buffer.from(text, "hex"))),
    browser: hex(browser.encode(untag(packet, arrayBuffer))),
  })),
  decode: input.decode.map((text) => ({
    node: decodeInNode(text),
    browser: tag(browser.decode(arrayBuffer(text))),
  })),
  expressions: input.expressions.map((expression) => encodeInNode(eval(`(${expression})`))),
};
process.stdout.write(JSON.stringify(output));

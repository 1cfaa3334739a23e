// A stock Node `ws` client of the protocol rtframework.v1, for tests/integration/test_plain_websocket.py.
//
//   node plain_websocket.mjs <url>
//
// It asks to be let in by a message, sends an event with an acknowledgement, bytes, and a question's answer, pings, and
// closes with a code. Standard output: one JSON line of what it has seen.

import WebSocket from "ws";

const [url] = process.argv.slice(2);
const seen = [];
const socket = new WebSocket(url, ["rtframework.v1"]);

function message(content, ...attachments) {
  const head = Buffer.from(JSON.stringify({ ...content, attachments: attachments.map((each) => each.length) }));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(head.length);
  return Buffer.concat([length, head, ...attachments]);
}

function read(data) {
  const end = 4 + data.readUInt32BE(0);
  const content = JSON.parse(data.subarray(4, end));
  return { ...content, bytes: data.subarray(end).toString("hex") };
}

const send = (content) => socket.send(JSON.stringify(content));

socket.on("open", () => {
  seen.push({ protocol: socket.protocol });
  send({ type: "connect", auth: { token: "right" } });
  send({ type: "event", event: "add", args: [1, 2], id: 1 });
});
socket.on("message", (data, isBinary) => {
  const content = isBinary ? read(data) : JSON.parse(data);
  seen.push(content);
  if (content.type === "ack" && content.id === 1) {
    socket.send(message({ event: "picture", args: [{ _placeholder: true, num: 0 }], id: 2 }, Buffer.from([0, 255])));
  } else if (content.type === "ack" && content.id === 2) {
    send({ type: "event", event: "ask me" });
  } else if (content.event === "who?") {
    send({ type: "ack", id: content.id, args: ["node"] });
  } else if (content.event === "thanks") {
    socket.ping("are you there?");
  }
});
socket.on("pong", (data) => {
  seen.push({ pong: data.toString() });
  socket.close(4999, "done");
});
socket.on("close", (code, reason) => {
  seen.push({ code, reason: reason.toString() });
  console.log(JSON.stringify(seen));
});

// The stock sockjs-client in Node, for tests/integration/test_sockjs.py.
//
//   node sockjs.mjs <url> <transport>
//
// It asks for an answer, hears what its room is told, and closes. Standard output: one JSON line of what it has seen.

import SockJS from "sockjs-client";

const [url, transport] = process.argv.slice(2);
const seen = [];
const socket = new SockJS(url, null, { transports: [transport] });

const send = (content) => socket.send(JSON.stringify(content));

socket.onopen = () => {
  seen.push({ transport: socket.transport });
  send({ event: "add", args: [1, 2], id: 1 });
  send({ event: "say", args: ["é 日本 😀 \u2028 </script> \"quoted\" \u0000"] });
};
socket.onmessage = ({ data }) => {
  const content = JSON.parse(data);
  seen.push(content);
  if (content.event === "said") send({ event: "send me away" });
};
socket.onclose = ({ code, reason }) => {
  seen.push({ code, reason });
  console.log(JSON.stringify(seen));
};

// A typed client that is run against tests/support/contract.py: `node running.js URL [msgpack]`. It prints JSON.
import { io, type Socket } from "socket.io-client";
import msgpack from "socket.io-msgpack-parser";
import {
  type ClientToServerEvents,
  type ClockClientToServerEvents,
  type ClockServerToClientEvents,
  type Point,
  type ServerToClientEvents,
  type TenantsTenantClientToServerEvents,
  type TenantsTenantServerToClientEvents,
  isEventError,
} from "./events.js";

const [url, parser] = process.argv.slice(2);
const options = parser === "msgpack" ? { parser: msgpack } : {};
const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io(url, options);
const tenant: Socket<TenantsTenantServerToClientEvents, TenantsTenantClientToServerEvents> = io(`${url}/tenants/acme`, options);
const clock: Socket<ClockServerToClientEvents, ClockClientToServerEvents> = io(`${url}/clock`, options);

const seen: unknown[] = [];
socket.on("posted", (post, author) => {
  seen.push(post.type === "picture" ? [Buffer.isBuffer(post.data), post.data.length, post.size, post.replies.length] : post.text);
  seen.push([author.fullName, author.bornOn, author.seen === undefined]);
});
socket.on("sure?", (question, ack) => ack(question === "really"));
socket.on("numbers", (...numbers) => seen.push(numbers));
socket.on("ping", () => seen.push("ping"));

const moved = new Promise<Point>((resolve) => socket.once("moved", resolve));
const said = new Promise<[string, string]>((resolve) => tenant.once("said", (who, text) => resolve([who, text])));
const time = new Promise<string | Date>((resolve) => clock.once("time", resolve));

const lengths = [
  await socket.emitWithAck("post", { type: "text", text: "hello" }, { fullName: "Ada", bornOn: "1815-12-10" }),
  await socket.emitWithAck("post", { type: "picture", data: new Uint8Array([1, 2, 3]) }, { fullName: "Grace" }),
];
const refused = await socket.emitWithAck("post", { type: "text", text: "hello" }, { fullName: "" });
const people = await socket.timeout(5000).emitWithAck("find", { limit: 1 }, "Ada", "Grace");
socket.emit("move", { x: 1, y: 2.5 });
const divided = await new Promise((resolve) => socket.emit("divide", 7, 2, (...answer) => resolve(answer)));
const zero = await new Promise((resolve) => socket.emit("divide", 7, 0, (...answer) => resolve(answer)));
const asked = await socket.emitWithAck("ask me", { any: "thing" });
tenant.emit("say", "hi");
const rang = new Promise<string>((resolve) => clock.once("2", resolve));
const alarm = [await clock.emitWithAck("1", "tea"), await rang];
const now = await clock.emitWithAck("now");
const [who, text] = await said;

console.log(
  JSON.stringify({
    seen,
    lengths,
    refused: isEventError(refused) ? refused.error.code : null,
    people: isEventError(people) ? null : Object.keys(people),
    moved: await moved,
    divided,
    zero,
    asked,
    alarm,
    said: [who === tenant.id, text],
    now: now instanceof Date ? "a Date" : now,
    plain: [undefined, null, 0, "error", { error: null }, { error: "code" }, { error: { code: 1 } }].filter(isEventError),
    time: (await time) instanceof Date ? "a Date" : await time,
  }),
);
for (const each of [socket, tenant, clock]) each.disconnect();

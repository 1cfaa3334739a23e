// What a typed client may do; compiled with the types of tests/support/contract.py, and never run.
import { io, type Socket } from "socket.io-client";
import {
  type ClientToServerEvents,
  type ClockClientToServerEvents,
  type ClockServerToClientEvents,
  type Person,
  type Picture,
  type ServerToClientEvents,
  type TenantsTenantClientToServerEvents,
  type TenantsTenantServerToClientEvents,
  isEventError,
} from "./events.js";

const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io();
const tenant: Socket<TenantsTenantServerToClientEvents, TenantsTenantClientToServerEvents> = io("/tenants/acme");
const clock: Socket<ClockServerToClientEvents, ClockClientToServerEvents> = io("/clock");
enum Alarm {
  SET = 1,
  RINGS = 2,
}

socket.on("posted", (post, author) => {
  const text: string = post.type === "text" ? post.text : String(post.data.byteLength + post.size[0]);
  const name: string = author.fullName + (author.bornOn ?? "") + (author.seen?.length ?? 0) + text;
  console.log(name);
});
socket.on("moved", (point) => console.log(point.x + point.y, point.colour === "red"));
socket.on("sure?", (question, ack) => ack(question.length > 3));
socket.on("numbers", (...numbers) => console.log(numbers.reduce((a, b) => a + b, 0)));
socket.on("ping", () => console.log("ping"));
tenant.on("said", (who, text) => console.log(who.toUpperCase(), text.toUpperCase()));

// Fields that have defaults may be left out, and bytes may be given in several forms.
socket.emit("post", { type: "text", text: "hi" }, { fullName: "Ada" }, (answer) => console.log(answer));
socket.emit("post", { type: "picture", data: new Uint8Array(3) }, { fullName: "Ada", bornOn: null }, () => {});
socket.emit("post", { type: "picture", data: new Blob(), replies: [{ type: "text", text: "" }] }, { fullName: "" }, () => {});
socket.emit("move", { x: 1, y: 2.5 });
socket.emit("move", { x: 1, y: 2.5, colour: "blue" }, true);
socket.emit("move", { x: 1, y: 2.5 }, (error) => console.log(error?.error.code));
socket.emit("move", { x: 1, y: 2.5 }, true, (error) => console.log(error?.error.message));
socket.emit("divide", 7, 2, (...answer) => {
  if (answer.length === 2) {
    const [quotient, remainder]: [number, number] = answer;
    console.log(quotient, remainder);
  } else {
    console.log(answer[0].error.details);
  }
});
socket.emit("ask me", { whatever: 1 }, (answer) => console.log(answer === true));
socket.emit("ask me", 1, 2, (answer) => console.log(answer === false));
tenant.emit("say", "hello");
clock.on(`${Alarm.RINGS}`, (text) => console.log(text.toUpperCase()));
clock.emit(`${Alarm.SET}`, "tea", (answer) => console.log(answer === true));

async function ask(): Promise<void> {
  const answer = await socket.timeout(5000).emitWithAck("post", { type: "text", text: "" }, { fullName: "Ada" });
  const size: number = isEventError(answer) ? answer.error.code.length : answer;
  const asked = await socket.emitWithAck("ask me", 1);
  if (isEventError(asked)) console.log(asked.error.code === "rate_limited" ? "later" : asked.error.code);
  const people = await socket.emitWithAck("find", { limit: 2 }, "Ada", "Grace");
  const ada: Person | undefined = "error" in people ? undefined : people["Ada"];
  console.log(size, ada?.fullName);
}
const picture: Picture = { type: "picture", data: new ArrayBuffer(1), size: [1, 1], replies: [] };
console.log(ask, picture);

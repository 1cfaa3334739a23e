// What a typed client may not do. The compiler complains about a directive below that has no error after it.
import { io, type Socket } from "socket.io-client";
import {
  type ClientToServerEvents,
  type ClockClientToServerEvents,
  type ClockServerToClientEvents,
  type Person,
  type Picture,
  type ServerToClientEvents,
  isEventError,
} from "./events.js";

const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io();
const clock: Socket<ClockServerToClientEvents, ClockClientToServerEvents> = io("/clock");

// @ts-expect-error: socket.io-client's types have no event that is named by a number
clock.emit(1, "tea", () => {});
// @ts-expect-error: an event of the other direction
clock.emit("2", "tea");
// @ts-expect-error: no such event
socket.emit("pots", { type: "text", text: "hi" }, { fullName: "Ada" }, () => {});
// @ts-expect-error: an event of the other direction
socket.emit("posted", { type: "text", text: "hi" }, { fullName: "Ada" });
// @ts-expect-error: an event of the other direction
socket.on("post", () => {});
// @ts-expect-error: no such tag
socket.emit("post", { type: "poem", text: "hi" }, { fullName: "Ada" }, () => {});
// @ts-expect-error: a field of another type
socket.emit("post", { type: "text", text: 1 }, { fullName: "Ada" }, () => {});
// @ts-expect-error: a field is missing
socket.emit("post", { type: "text", text: "hi" }, {}, () => {});
// @ts-expect-error: the name that Python has for it
socket.emit("post", { type: "text", text: "hi" }, { full_name: "Ada" }, () => {});
// @ts-expect-error: an argument is missing
socket.emit("post", { type: "text", text: "hi" }, () => {});
// @ts-expect-error: one argument too many
socket.emit("move", { x: 1, y: 2 }, true, 1);
// @ts-expect-error: no such colour
socket.emit("move", { x: 1, y: 2, colour: "green" });
// @ts-expect-error: text is no bytes
socket.emit("post", { type: "picture", data: "abc" }, { fullName: "Ada" }, () => {});
// @ts-expect-error: an answer of another type
socket.emit("post", { type: "text", text: "hi" }, { fullName: "Ada" }, (answer: string) => {});
socket.emit("post", { type: "text", text: "hi" }, { fullName: "Ada" }, (answer) => {
  // @ts-expect-error: the answer may be an error
  const size: number = answer;
});
// @ts-expect-error: not all answers are of this type
socket.emit("find", { limit: 1 }, "Ada", (people: Record<string, Person>) => {});
// @ts-expect-error: no such word
socket.emit("find", { limit: 1, by: "size" }, "Ada", () => {});
socket.on("posted", (post) => {
  // @ts-expect-error: nobody knows yet whether it is a text
  post.text;
});
socket.on("sure?", (question, ack) => {
  // @ts-expect-error: an answer of another type
  ack("yes");
});
// @ts-expect-error: arguments of another type
socket.on("numbers", (...numbers: string[]) => {});
// @ts-expect-error: what arrives has all fields
const picture: Picture = { type: "picture", data: new ArrayBuffer(1) };
async function ask(): Promise<void> {
  // @ts-expect-error: an answer of another type
  const answer: string = await socket.emitWithAck("find", { limit: 1 });
}
async function refused(): Promise<void> {
  const answer = await socket.emitWithAck("post", { type: "text", text: "" }, { fullName: "Ada" });
  // @ts-expect-error: the answer is no object
  if ("error" in answer) console.log(answer);
  // @ts-expect-error: what is no refusal has no code
  if (!isEventError(answer)) console.log(answer.error.code);
}

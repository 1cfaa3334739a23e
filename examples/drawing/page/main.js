import { Board, HEIGHT, WIDTH } from "./board.js";

const $ = (id) => document.getElementById(id);
const board = new Board($("canvas"));
const COLOURS = ["ink", "red", "orange", "green", "blue", "violet"];

function random() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(36).padStart(2, "0")).join("");
}

// --- the connection --------------------------------------------------------------------------------------------------

const key = sessionStorage.getItem("key") ?? random();
sessionStorage.setItem("key", key);
$("name").value = localStorage.getItem("name") ?? "Somebody";

const socket = io({
  auth: (give) => give({ board: location.hash.slice(1) || "lobby", name: $("name").value.trim() || "Somebody", key }),
  retries: 5, // an event that was not answered in time is sent again; the server knows it by its id
  ackTimeout: 5000,
});

socket.on("connect", () => status("online", "Online"));
socket.on("disconnect", () => {
  status("offline", "Reconnecting: go on drawing …");
  $("people").textContent = ""; // not known any more
  $("cursors").replaceChildren();
});
socket.on("connect_error", (error) => socket.active || status("offline", error.message));

// --- what the others do ----------------------------------------------------------------------------------------------

const mine = new Map(); // strokes that the server has not confirmed

socket.on("board", (strokes) => {
  board.strokes = new Map([...strokes.map((stroke) => [stroke.id, stroke]), ...mine]);
  board.sketches.clear();
  board.draw();
});

socket.on("stroke", (stroke) => {
  board.strokes.set(stroke.id, stroke);
  for (const [who, sketch] of board.sketches) if (sketch.id === stroke.id) board.sketches.delete(who);
  board.draw();
});

socket.on("sketch", (who, name, stroke) => {
  showCursor(who, name, stroke.points.at(-1), stroke.colour);
  if (board.strokes.has(stroke.id)) return;
  board.sketches.set(who, stroke);
  board.draw();
});

socket.on("removed", (id) => {
  board.strokes.delete(id);
  board.draw();
});

socket.on("people", (names) => ($("people").textContent = names.join(", ")));

socket.on("cursor", showCursor);

function showCursor(who, name, [x, y], colour) {
  const cursor = $(who) ?? $("cursors").appendChild(Object.assign(document.createElement("div"), { id: who }));
  cursor.textContent = name;
  cursor.style.cssText = `left: ${(100 * x) / WIDTH}%; top: ${(100 * y) / HEIGHT}%; --colour: var(--${colour})`;
}

socket.on("gone", (who) => {
  $(who)?.remove();
  board.sketches.delete(who);
  board.draw();
});

// --- drawing ---------------------------------------------------------------------------------------------------------

const colour = () => document.querySelector("#colours input:checked").value;
let drawing = null;

function begin(point) {
  drawing = { id: random(), colour: colour(), width: Number($("width").value), points: [point] };
  board.sketches.set("me", drawing);
  board.draw();
}

function move(point) {
  tell(point);
  if (!drawing) return;
  drawing.points.push(point);
  if (drawing.points.length === 1000) {
    end(); // as long as the server takes; it goes on as another
    begin(point);
  }
  board.draw();
}

function end() {
  if (!drawing) return;
  const stroke = drawing;
  drawing = null;
  board.sketches.delete("me");
  board.strokes.set(stroke.id, stroke);
  board.draw();
  mine.set(stroke.id, stroke);
  socket.emit("stroke", stroke, () => mine.delete(stroke.id)); // sent again until it is answered
}

// What others see before a stroke is finished: thirty times a second is enough, one event at a time.
let here;
let waiting;
function tell(point) {
  here = point;
  waiting ??= setTimeout(() => {
    waiting = undefined;
    if (drawing) socket.volatile.emit("sketch", drawing);
    else socket.volatile.emit("cursor", here, colour());
  }, 33);
}

const canvas = $("canvas");
canvas.addEventListener("pointerdown", (event) => {
  if (event.button || !event.isPrimary) return; // another button, another finger
  canvas.setPointerCapture(event.pointerId);
  begin(board.point(event));
});
canvas.addEventListener("pointermove", (event) => {
  if (event.isPrimary) move(board.point(event));
});
for (const name of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(name, (event) => event.isPrimary && end());
}

// --- by keys ---------------------------------------------------------------------------------------------------------

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
let pen = [WIDTH / 2, HEIGHT / 2];

canvas.addEventListener("keydown", (event) => {
  if (event.key in ARROWS) {
    const step = event.shiftKey ? 50 : 10;
    const [x, y] = ARROWS[event.key];
    pen = [Math.min(WIDTH, Math.max(0, pen[0] + x * step)), Math.min(HEIGHT, Math.max(0, pen[1] + y * step))];
    move(pen);
  } else if (event.key === " ") {
    if (drawing) end();
    else begin(pen);
  } else {
    return;
  }
  event.preventDefault();
  $("pen").hidden = false;
  $("pen").style.cssText = `left: ${(100 * pen[0]) / WIDTH}%; top: ${(100 * pen[1]) / HEIGHT}%`;
  $("pen").classList.toggle("down", Boolean(drawing));
});
canvas.addEventListener("blur", () => ($("pen").hidden = true));

// --- the tools -------------------------------------------------------------------------------------------------------

for (const name of COLOURS) {
  const label = document.createElement("label");
  label.innerHTML = `<input type="radio" name="colour" value="${name}"><span class="visually-hidden">${name}</span>`;
  label.style.setProperty("--colour", `var(--${name})`);
  $("colours").append(label);
}
document.querySelector("#colours input").checked = true;

const undo = () => socket.emit("undo", () => {});
$("undo").addEventListener("click", undo);
$("clear").addEventListener("click", () => socket.emit("clear", () => {}));
addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "z" && event.target !== $("name")) undo();
});
$("name").addEventListener("change", () => {
  localStorage.setItem("name", $("name").value.trim());
  socket.disconnect().connect(); // the name is told when one comes
});
addEventListener("hashchange", () => socket.disconnect().connect());

function status(state, text) {
  $("status").dataset.state = state;
  $("status").textContent = text;
}

// The page: what the server says and what the person does, brought together.

import { connect } from "./connection.js";
import { Conversation } from "./conversation.js";
import { avatar, element, icon, paint } from "./items.js";
import { Outbox } from "./outbox.js";
import * as session from "./session.js";

const $ = (id) => document.getElementById(id);
const LOBBY = "room:lobby";
const TYPING_EVERY = 2000; // milliseconds between two hints that we send
const TYPING_LASTS = 5000; // … that a hint is shown
const RETURN_WITHIN = 15000; // … in which people come back after a restart without being announced

const REASONS = {
  missing: "Please sign in.",
  expired: "Your session has ended: please sign in again.",
  bad_signature: "Your session is not valid on this server any more: please sign in again.",
  name_taken: "Somebody else goes by this name now: please choose another one.",
};

let me = null;
let connection = null;
let current = null; // the open conversation
let conversations = new Map(); // id -> Conversation
let rooms = new Map(); // name -> number of people
let lastHint = 0;

const outbox = new Outbox({
  deliver,
  sent(entry, message) {
    if (talk(entry.to)) put(talk(entry.to), message);
  },
  failed(entry, error) {
    if (talk(entry.to)) put(talk(entry.to), { ...entry.message, author: me, reason: error.message });
    toast(error.message);
  },
});

// --- conversations --------------------------------------------------------------------------------------------------

const talk = (id) => conversations.get(id);

function room(name) {
  const id = `room:${name}`;
  if (!talk(id)) conversations.set(id, new Conversation({ id, kind: "room", name }));
  return talk(id);
}

function privateWith(person) {
  const id = `person:${person.id}`;
  if (!talk(id)) conversations.set(id, new Conversation({ id, kind: "private", name: person.name, person }));
  return talk(id);
}

// Without a connection nobody can tell.
const online = () => document.body.dataset.online === "true";
const here = (person) => online() && Boolean(talk(LOBBY)?.people.has(person.id));
const presence = (person) => (here(person) ? "online" : online() ? "offline" : "");

function put(conversation, message) {
  const follow = conversation === current && atEnd();
  const added = conversation.put(message, { mine: message.author.id === me.id, retry });
  if (follow) toEnd();
  return added;
}

// A message that somebody wrote, as opposed to history.
function receive(conversation, message) {
  conversation.typist(message.author);
  const added = put(conversation, message);
  const own = message.author.id === me.id; // written in another tab
  const seen = conversation === current && document.visibilityState === "visible" && atEnd();
  if (added && !own && !seen) conversation.unread += 1;
  if (added && !own && conversation !== current) {
    const where = conversation.kind === "room" ? `in ${conversation.name}` : "to you in private";
    $("announcer").textContent = `${message.author.name} wrote ${where}`;
  }
  drawLists();
  drawTalk();
  drawTyping();
}

// After a reconnection what we missed counts as new; what a page finds when it opens does not.
function takeHistory(conversation, messages) {
  quietly();
  for (const message of messages) {
    const mine = message.author.id === me.id;
    if (mine) outbox.remove(message.key);
    if (put(conversation, message) && conversation.loaded && !mine && conversation !== current) conversation.unread += 1;
  }
  conversation.loaded = true;
}

// What is shown now is history: a screen reader does not read it out.
function quietly() {
  $("scroller").setAttribute("aria-busy", "true");
  clearTimeout(quietly.timer);
  quietly.timer = setTimeout(() => $("scroller").removeAttribute("aria-busy"), 500);
}

// The rooms that a client is in are named as its conversations are: room:lobby.
const roomOf = (channel) => room(channel.slice("room:".length));
const talkOf = (message) => privateWith(message.author.id === me.id ? message.to : message.author);
const personOf = ({ user, meta }) => ({ id: user, name: meta.name });

const joinedRooms = () =>
  [...conversations.values()].filter((one) => one.kind === "room" && one.joined).map((one) => one.name);

// The rooms of this tab, for after a reload.
function remember() {
  sessionStorage.setItem("chat.rooms", JSON.stringify({ names: joinedRooms(), current: current?.id }));
}

function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem("chat.rooms")) ?? { names: [] };
  } catch {
    return { names: [] };
  }
}

function open(conversation) {
  if (current) {
    current.draft = $("message-box").value;
    current.atEnd = atEnd();
    current.list.remove();
  }
  current = conversation;
  quietly();
  $("scroller").append(conversation.list);
  $("message-box").value = conversation.draft;
  closePanels();
  drawAll();
  if (conversation.atEnd || conversation.unread) toEnd();
  read();
  fitBox();
  remember();
  if (matchMedia("(hover: hover)").matches) $("message-box").focus();
}

function read() {
  if (!current?.unread || document.visibilityState !== "visible" || !atEnd()) return;
  current.unread = 0;
  drawLists();
  drawTalk();
}

async function join(name) {
  try {
    open(room(await connection.ask("join", name)));
    return true;
  } catch (error) {
    complain(error);
    return false;
  }
}

async function leave() {
  const conversation = current;
  try {
    await connection.ask("leave", conversation.name);
  } catch (error) {
    if (error.code !== "not_in_room") return complain(error);
  }
  conversations.delete(conversation.id);
  if (current === conversation) open(talk(LOBBY));
  remember();
  drawLists();
}

// --- sending --------------------------------------------------------------------------------------------------------

// getRandomValues, because randomUUID is missing on pages that come over plain HTTP from another machine.
const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (n) => n.toString(16).padStart(2, "0")).join("");

function send(text) {
  const message = { key: newKey(), author: me, text, time: new Date().toISOString() };
  put(current, message);
  post(current, message);
  toEnd();
  drawTalk();
}

async function deliver({ to, where: { kind, name, person }, message: { key, text } }) {
  if (kind === "private") return connection.ask("private", person.id, text, key);
  try {
    return await connection.ask("message", name, text, key);
  } catch (error) {
    if (error.code !== "not_in_room" || !talk(to)?.joined) throw error;
    await connection.ask("join", name);
    return connection.ask("message", name, text, key);
  }
}

function retry({ key, author, text, time }) {
  const message = { key, author, text, time };
  put(current, message);
  post(current, message);
}

// The entry can be stored: it says where the message goes, not in which object.
function post({ id, kind, name, person }, message) {
  outbox.add({ key: message.key, to: id, where: { kind, name, person }, message });
}

function hintTyping() {
  const now = Date.now();
  if (now - lastHint < TYPING_EVERY || !$("message-box").value.trim()) return;
  lastHint = now;
  if (current.kind === "room") connection.hint("typing", current.name);
  else connection.hint("typing", null, current.person.id);
}

// --- what the server says -------------------------------------------------------------------------------------------

const events = {
  async welcome(you, counts) {
    me = you;
    rooms = new Map(Object.entries(counts));
    const { before } = connection;
    const again = new Set([...before.names, ...joinedRooms()]);
    again.delete("lobby");
    if (!current) open(talk(LOBBY));
    drawAll();
    const mine = connection;
    mine.before = { names: [] };
    for (const name of again) {
      try {
        await mine.ask("join", name);
      } catch (error) {
        if (!error.code) return; // the connection broke again: the next welcome starts anew
        complain(error);
        if (talk(`room:${name}`)) talk(`room:${name}`).joined = false;
      }
    }
    if (mine !== connection) return;
    if (current.id === LOBBY && talk(before.current)) open(talk(before.current));
    outbox.open();
    drawAll();
  },
  // What was said in a room, or to this person, until now.
  history({ room: channel, entries }) {
    const found = new Map();
    for (const { args } of entries) {
      const conversation = channel.startsWith("room:") ? roomOf(channel) : talkOf(args[0]);
      found.set(conversation, [...(found.get(conversation) ?? []), args[0]]);
    }
    for (const [conversation, messages] of found) takeHistory(conversation, messages);
    if (channel.startsWith("room:")) roomOf(channel).loaded = true;
    drawAll();
  },
  // Who is in a room that was joined; then who comes and who goes.
  presence({ room: channel, members }) {
    const conversation = roomOf(channel);
    conversation.returning = new Set(conversation.people.keys());
    setTimeout(() => conversation.returning.clear(), RETURN_WITHIN);
    conversation.people = new Map(members.map((member) => [member.user, personOf(member)]));
    conversation.joined = true;
    remember();
    drawAll();
  },
  presence_join({ room: channel, ...member }) {
    const conversation = roomOf(channel);
    const person = personOf(member);
    conversation.people.set(person.id, person);
    if (!conversation.returning.delete(person.id)) announce(conversation, `${person.name} joined`);
    drawAll();
  },
  presence_leave({ room: channel, ...member }) {
    const conversation = talk(channel);
    if (!conversation) return;
    const person = personOf(member);
    conversation.people.delete(person.id);
    conversation.typist(person);
    announce(conversation, `${person.name} left`);
    drawAll();
  },
  room(name, count) {
    if (count || name === "lobby") rooms.set(name, count);
    else rooms.delete(name);
    drawLists();
  },
  message(message) {
    receive(room(message.room), message);
  },
  private(message) {
    receive(talkOf(message), message);
  },
  typing(name, person) {
    const conversation = talk(name ? `room:${name}` : `person:${person.id}`);
    if (!conversation) return;
    conversation.typist(person);
    const timer = setTimeout(() => {
      conversation.typist(person);
      drawTyping();
    }, TYPING_LASTS);
    conversation.typing.set(person.id, { name: person.name, timer });
    drawTyping();
  },
  // The token is about to run out: the connection goes on with a new one.
  async refresh_token(info, answer) {
    answer(await session.renew().catch(() => null));
  },
  kicked({ reason: why }) {
    session.forget();
    signedOut(why ? `You were sent away: ${why}` : "You were sent away.");
  },
};

function announce(conversation, text) {
  const follow = conversation === current && atEnd();
  conversation.notice(text);
  if (follow) toEnd();
}

// --- drawing --------------------------------------------------------------------------------------------------------

function drawAll() {
  drawLists();
  drawTalk();
  drawPeople();
  drawTyping();
}

function drawLists() {
  const all = [...conversations.values()];
  const names = new Set([...rooms.keys(), ...all.filter((one) => one.kind === "room").map((one) => one.name)]);
  const sorted = [...names].sort((a, b) => (b === "lobby") - (a === "lobby") || a.localeCompare(b));
  redraw($("rooms"), sorted.map(roomRow));
  const talks = all.filter((one) => one.kind === "private").sort((a, b) => lastTime(b).localeCompare(lastTime(a)));
  redraw($("private"), talks.map(privateRow));
  $("private-empty").hidden = talks.length > 0;
  const unread = all.reduce((sum, one) => sum + one.unread, 0);
  $("menu-badge").hidden = !all.some((one) => one !== current && one.unread);
  document.title = `${unread ? `(${unread}) ` : ""}${current?.name ?? "Chat"} · Chat`;
}

const lastTime = (conversation) => conversation.items.at(-1)?.time ?? "9";

function roomRow(name) {
  const conversation = talk(`room:${name}`);
  const joined = Boolean(conversation?.joined);
  const count = rooms.get(name) ?? 0;
  const button = rowButton({
    className: "row",
    active: conversation && conversation === current,
    label: `${name}, ${count} here${conversation?.unread ? `, ${conversation.unread} unread` : ""}${joined ? "" : ", join"}`,
    action: () => (joined ? open(conversation) : join(name)),
  });
  button.append(
    element("span", { className: "hash", textContent: "#" }),
    element("span", { className: "ellipsis name", textContent: name }),
    badge(conversation?.unread) || element("span", { className: "count", textContent: joined ? count : `${count} · join` }),
  );
  const dataset = { room: name, count, joined, unread: conversation?.unread ?? 0 };
  return element("li", { dataset }, button);
}

function privateRow(conversation) {
  const { person, unread } = conversation;
  const button = rowButton({
    className: "row",
    active: conversation === current,
    label: [person.name, presence(person), unread && `${unread} unread`].filter(Boolean).join(", "),
    action: () => open(conversation),
  });
  const face = avatar(person);
  face.classList.toggle("online", here(person));
  button.append(face, element("span", { className: "ellipsis name", textContent: person.name }), badge(unread) || "");
  return element("li", { dataset: { person: person.id, name: person.name, unread } }, button);
}

function rowButton({ className, active, label, action }) {
  const button = element("button", { type: "button", className });
  button.setAttribute("aria-label", label);
  if (active) button.setAttribute("aria-current", "true");
  button.addEventListener("click", action);
  return button;
}

const badge = (number) => number && element("span", { className: "badge", textContent: number > 99 ? "99+" : number });

// Keeps the focus where it was when a list is drawn anew.
function redraw(list, rows) {
  const at = [...list.children].findIndex((row) => row.contains(document.activeElement));
  const id = at >= 0 ? rowId(list.children[at]) : null;
  list.replaceChildren(...rows);
  if (id) rows.find((row) => rowId(row) === id)?.querySelector("button")?.focus();
}

const rowId = (row) => row.dataset.room ?? row.dataset.person;

function drawTalk() {
  if (!current) return;
  const isRoom = current.kind === "room";
  const others = isRoom ? current.people.size : 0;
  $("title").textContent = isRoom ? `# ${current.name}` : current.name;
  $("subtitle").textContent = isRoom
    ? `${others} ${others === 1 ? "person" : "people"}${online() ? " here" : ""}`
    : ["Private", presence(current.person)].filter(Boolean).join(" · ");
  $("leave").hidden = !isRoom || current.id === LOBBY;
  const box = $("message-box");
  box.placeholder = isRoom ? `Message #${current.name}` : `Message ${current.name}`;
  const empty = $("empty");
  empty.hidden = current.items.some((item) => item.kind === "message");
  const [, title, text] = empty.children;
  title.textContent = isRoom ? `This is #${current.name}` : `You and ${current.name}`;
  text.textContent = isRoom
    ? "Nobody has said anything yet. Say hello!"
    : "Only the two of you see what is written here.";
  drawJump();
}

function drawPeople() {
  const people = current?.kind === "private" ? [me, current.person] : [...(current?.people.values() ?? [])];
  people.sort((a, b) => (b.id === me.id) - (a.id === me.id) || a.name.localeCompare(b.name));
  redraw($("people"), people.map((person) => {
    const own = person.id === me.id;
    const button = rowButton({
      className: "row",
      label: own ? `${person.name}, you` : `${person.name}: talk in private`,
      action: () => open(privateWith(person)),
    });
    button.disabled = own;
    const face = avatar(person);
    face.classList.toggle("online", here(person));
    button.append(face, element("span", { className: "ellipsis name", textContent: person.name }));
    button.append(own ? element("span", { className: "count", textContent: "you" }) : icon("chat"));
    return element("li", { dataset: { person: person.id, name: person.name } }, button);
  }));
}

function drawTyping() {
  const names = [...(current?.typing.values() ?? [])].map(({ name }) => name);
  const text =
    names.length === 0 ? ""
    : names.length === 1 ? `${names[0]} is typing`
    : names.length === 2 ? `${names[0]} and ${names[1]} are typing`
    : "Several people are typing";
  const line = $("typing");
  if (line.textContent === text) return;
  line.replaceChildren(text);
  line.classList.toggle("on", Boolean(text));
}

function drawStatus({ state, transport = "", attempt = "" }) {
  const line = $("status");
  Object.assign(line.dataset, { state, transport, attempt });
  // What a phone has no room for stands apart; it is read out, and shown as a title, all the same.
  const texts = {
    connecting: ["", "Connecting …", ""],
    online: ["Online by ", transport, ""],
    reconnecting: ["", "Reconnecting", `, attempt ${attempt}`],
    offline: ["", "Offline", ""],
  };
  const [before, text, after] = texts[state];
  const roomy = (textContent) => element("span", { className: "roomy", textContent });
  line.replaceChildren(roomy(before), element("span", { textContent: text }), roomy(after));
  line.title = before + text + after;
  const wasOnline = online();
  document.body.dataset.online = state === "online";
  if (wasOnline !== online()) drawAll(); // who is here is known while there is a connection
}

// --- scrolling ------------------------------------------------------------------------------------------------------

function atEnd() {
  const { scrollHeight, scrollTop, clientHeight } = $("scroller");
  return scrollHeight - scrollTop - clientHeight < 60;
}

function toEnd() {
  $("scroller").scrollTop = $("scroller").scrollHeight;
  drawJump();
}

function drawJump() {
  $("jump").hidden = atEnd();
  $("jump").lastElementChild.textContent = current?.unread ? `${current.unread} new` : "Latest";
}

// When the window or the on-screen keyboard takes height away, the last line stays in sight. A scroll event that comes
// between the change of size and the observer tells nothing of what the person wants.
let wasAtEnd = true;
let size = "";
const sizeNow = () => `${$("scroller").clientWidth} ${$("scroller").clientHeight}`;
new ResizeObserver(() => {
  size = sizeNow();
  if (wasAtEnd) toEnd();
}).observe($("scroller"));
$("scroller").addEventListener("scroll", () => {
  if (size === sizeNow()) wasAtEnd = atEnd();
  drawJump();
  read();
}, { passive: true });
$("jump").addEventListener("click", () => {
  toEnd();
  read();
});
document.addEventListener("visibilitychange", read);

// --- errors ---------------------------------------------------------------------------------------------------------

function toast(text) {
  const close = element("button", { type: "button", className: "icon", dataset: { testid: "toast-close" } }, icon("close"));
  close.setAttribute("aria-label", "Close");
  const node = element("div", { className: "toast", dataset: { testid: "toast" } }, element("p", { textContent: text }), close);
  close.addEventListener("click", () => node.remove());
  $("toasts").append(node);
  while ($("toasts").children.length > 3) $("toasts").firstElementChild.remove();
  setTimeout(() => node.remove(), 7000);
}

function complain(error) {
  toast(error.code ? error.message : "No answer from the server: please try again.");
}

// --- what the person does -------------------------------------------------------------------------------------------

$("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = $("sign-in-name").value.trim();
  if (!name) return ask("Please enter a name.");
  try {
    start(await session.signIn(name));
  } catch (error) {
    if (error instanceof TypeError || error instanceof SyntaxError) reason("The server cannot be reached.");
    else ask(error.message);
  }
});

$("sign-out").addEventListener("click", () => {
  session.forget();
  outbox.clear();
  sessionStorage.removeItem("chat.rooms");
  signedOut();
});

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("message-box").value.trim();
  if (!text || !current) return;
  $("message-box").value = "";
  lastHint = 0;
  send(text);
  fitBox();
  $("message-box").focus();
});

$("message-box").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("composer").requestSubmit();
});

$("message-box").addEventListener("input", () => {
  fitBox();
  hintTyping();
});

function fitBox() {
  const box = $("message-box");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
  $("composer").querySelector(".send").disabled = !box.value.trim();
}

$("new-room").addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = $("new-room-name").value.trim();
  if (name && (await join(name))) $("new-room-name").value = "";
});

$("leave").addEventListener("click", leave);

// Side panels on narrow screens: one at a time, closed by Escape, by the veil and by choosing something.
const panels = [
  { panel: $("sidebar"), button: $("menu"), wide: matchMedia("(min-width: 760px)") },
  { panel: $("people-panel"), button: $("people-toggle"), wide: matchMedia("(min-width: 1060px)") },
];

function showPanel(shown) {
  for (const { panel, button, wide } of panels) {
    const open = panel === shown && !wide.matches;
    panel.classList.toggle("open", open);
    panel.inert = !wide.matches && !open;
    button.setAttribute("aria-expanded", open);
    if (open) panel.querySelector("[data-close]").focus();
  }
  $("veil").classList.toggle("open", Boolean(shown));
}

function closePanels() {
  const from = panels.find(({ panel }) => panel.classList.contains("open"));
  showPanel(null);
  from?.button.focus();
}

for (const { panel, button, wide } of panels) {
  button.addEventListener("click", () => showPanel(panel));
  wide.addEventListener("change", () => showPanel(null));
}
for (const node of document.querySelectorAll("[data-close]")) node.addEventListener("click", closePanels);
addEventListener("keydown", (event) => event.key === "Escape" && closePanels());

// --- in and out -----------------------------------------------------------------------------------------------------

function view(name) {
  document.body.dataset.view = name;
  $("sign-in-view").hidden = name !== "sign-in";
  $("chat-view").hidden = name !== "chat";
}

function reason(text) {
  $("sign-in-reason").textContent = text;
  $("sign-in-reason").hidden = !text;
  $("sign-in-name").removeAttribute("aria-invalid");
}

// The name did not do: the field says so, and has the focus.
function ask(text) {
  reason(text);
  $("sign-in-name").setAttribute("aria-invalid", "true");
  $("sign-in-name").focus();
}

function start({ person }) {
  me = person;
  paint($("me-avatar"), me);
  $("me").textContent = me.name;
  view("chat");
  reason("");
  showPanel(null);
  const before = remembered(); // what this tab had open before a reload
  open(room("lobby"));
  for (const { where, message } of outbox.restore(me.name)) {
    put(where.kind === "room" ? room(where.name) : privateWith(where.person), { ...message, author: me });
  }
  const opened = connect({
    token: () => session.load()?.token,
    status: drawStatus,
    down: () => outbox.close(),
    events,
    turnedAway(code) {
      session.forget();
      signedOut(REASONS[code] ?? "Your session is not valid: please sign in again.");
    },
  });
  connection = { ...opened, before };
}

function signedOut(why = "") {
  const name = me?.name ?? "";
  connection?.close();
  connection = null;
  outbox.close();
  current?.list.remove();
  current = null;
  conversations = new Map();
  rooms = new Map();
  document.title = "Chat";
  view("sign-in");
  reason(why);
  $("sign-in-name").value = name;
  $("sign-in-name").focus();
}

session.onChangedElsewhere((now) => {
  const inside = document.body.dataset.view === "chat";
  if (!now && inside) signedOut("You were signed out in another tab.");
  else if (now && !(inside && now.person.id === me.id)) location.reload();
});

if (!window.io) {
  view("sign-in");
  reason("The Socket.IO client could not be loaded: check the network, or run “npm install socket.io-client”.");
  $("sign-in").querySelector("button").disabled = true;
} else {
  const known = session.load();
  if (known) start(known);
  else signedOut();
}

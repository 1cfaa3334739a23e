const $ = (id) => document.getElementById(id);
const random = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (each) => each.toString(36)).join("");
let me = { name: "", staff: false };
let socket;

// --- talking to the server -------------------------------------------------------------------------------------------

async function newToken() {
  const answer = await fetch("/token", { method: "POST" });
  const { token, ...who } = await answer.json();
  if (answer.ok) me = who;
  return token; // "": nobody is signed in
}

let lastId = null; // of the last message that was seen
let kicked = null;

function connect() {
  const room = new URLSearchParams(location.search).get("room") ?? "desk";
  const auth = (give) =>
    newToken().then(
      (token) => give({ token, room, last_id: lastId }),
      () => socket.io.engine.close(), // the network is away: the client tries again
    );
  socket = io({ auth, retries: 5, ackTimeout: 5000 });

  socket.on("connect", () => {
    $("status").textContent = "Online";
    kicked = null;
  });
  socket.on("disconnect", () => {
    $("status").textContent = "Reconnecting …";
  });
  socket.on("connect_error", (error) => {
    if (!socket.active) ask(kicked ? `You were thrown out: ${kicked.reason}` : error.message);
  });
  socket.on("refresh_token", async (_, answer) => answer(await newToken().catch(() => null)));
  socket.on("kicked", (why) => (kicked = why));
  listen();
  $("chat").hidden = false;
  $("start").hidden = true;
}

// --- who is here, and what was said ----------------------------------------------------------------------------------

const people = new Map();
let oldestId;

function listen() {
  socket.on("presence", ({ members }) => {
    people.clear();
    for (const { user, meta } of members) people.set(user, meta.name);
    showPeople();
  });
  socket.on("presence_join", ({ user, meta }) => {
    people.set(user, meta.name);
    showPeople();
  });
  socket.on("presence_leave", ({ user }) => {
    people.delete(user);
    showPeople();
  });

  socket.on("history", ({ entries, gap, more }) => {
    if (gap || lastId === null || more) {
      document.querySelectorAll("#messages li:not([data-state])").forEach((item) => item.remove());
      oldestId = entries[0]?.id;
      $("older").hidden = !more;
    }
    for (const { id, args: [message] } of entries) hear(message, id);
  });
  socket.on("said", hear);
}

function hear(message, id) {
  lastId = id;
  oldestId ??= id;
  show(message).removeAttribute("data-state");
}

$("older").addEventListener("click", async () => {
  const { entries, more } = await socket.emitWithAck("older", oldestId);
  oldestId = entries[0]?.id ?? oldestId;
  $("older").hidden = !more;
  $("messages").prepend(...entries.map(({ args: [message] }) => item(message)));
});

// --- talking ---------------------------------------------------------------------------------------------------------

function say(text) {
  const key = random(); // made once: each attempt has the same
  const shown = show({ author: me.name, text, time: Date.now() / 1000, key });
  shown.dataset.state = "sending";
  socket.emit("say", text, key, (error, answer) => {
    if (error || answer.error) shown.dataset.state = "failed";
  });
}

function throwOut(user) {
  const reason = prompt("Why?");
  if (reason) socket.emit("throw out", user, reason, (error, answer) => answer?.error && alert(answer.error.message));
}

// --- what one sees ---------------------------------------------------------------------------------------------------

function item({ author, text, time, key }) {
  const made = document.createElement("li");
  made.dataset.key = key;
  made.classList.toggle("mine", author === me.name);
  const at = new Date(time * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  for (const [tag, content] of [["b", author], ["span", text], ["time", at]]) {
    made.append(Object.assign(document.createElement(tag), { textContent: content }));
  }
  return made;
}

function show(message) {
  const known = [...$("messages").children].find((each) => each.dataset.key === message.key);
  const made = known ?? $("messages").appendChild(item(message));
  made.scrollIntoView({ block: "end" });
  return made;
}

function showPeople() {
  const items = [...people].sort().map(([user, name]) => {
    const made = Object.assign(document.createElement("li"), { textContent: name });
    if (me.staff && name !== me.name) {
      const button = made.appendChild(document.createElement("button"));
      button.textContent = "Throw out";
      button.setAttribute("aria-label", `Throw out ${name}`);
      button.addEventListener("click", () => throwOut(user));
    }
    return made;
  });
  $("people").replaceChildren(...items);
}

function ask(reason = "") {
  $("reason").textContent = reason;
  $("chat").hidden = true;
  $("start").hidden = false;
  $("name").focus();
}

$("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = JSON.stringify({ name: $("name").value.trim(), code: $("code").value });
  const answer = await fetch("/sign-in", { method: "POST", body });
  if (!answer.ok) return ask((await answer.json()).message);
  if (socket) return location.reload(); // somebody else, maybe
  connect();
});

$("say").addEventListener("submit", (event) => {
  event.preventDefault();
  say($("text").value);
  $("text").value = "";
});

if (await newToken()) connect();
else ask();

const $ = (id) => document.getElementById(id);
let name = "";
let socket;

// --- talking to the server -------------------------------------------------------------------------------------------

function connect(session) {
  name = session.name;
  socket = io({ auth: { token: session.token } });

  socket.on("connect", () => {
    status("Online");
    enter();
  });
  socket.on("disconnect", () => {
    status("Reconnecting …");
    showPeople([]); // who is there is not known any more
  });
  socket.on("connect_error", (error) => {
    if (socket.active) return; // the network: it tries again by itself
    sessionStorage.removeItem("session");
    ask(error.message);
  });

  socket.on("people", showPeople);
  socket.on("said", (message) => {
    show(message);
    showTyping("");
  });
  socket.on("typing", showTyping);
  $("chat").hidden = false;
  $("start").hidden = true;
}

async function request(event, ...args) {
  const answer = await socket.timeout(5000).emitWithAck(event, ...args);
  if (answer?.error) throw new Error(answer.error.message);
  return answer;
}

async function enter() {
  const room = $("room").value.trim().toLowerCase();
  try {
    const { people, messages } = await request("enter", room);
    const again = location.hash === `#${room}`; // after a break: what was not sent stays, and says so
    const unsent = again ? document.querySelectorAll('[data-state="sending"], [data-state="failed"]') : [];
    location.hash = room;
    $("messages").replaceChildren();
    messages.forEach(show);
    $("messages").append(...unsent);
    showPeople(people);
  } catch (error) {
    status(`Not in ${room}: ${error.message}`);
  }
}

async function say(text) {
  const item = show({ author: name, text, time: Date.now() / 1000 });
  item.dataset.state = "sending";
  try {
    await request("say", text);
    item.dataset.state = "sent";
  } catch (error) {
    item.dataset.state = "failed";
    item.title = error.message;
  }
}

// --- what is seen ----------------------------------------------------------------------------------------------------

function show({ author, text, time }) {
  const item = document.createElement("li");
  item.classList.toggle("mine", author === name);
  const at = new Date(time * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  for (const [tag, content] of [["b", author], ["span", text], ["time", at]]) {
    item.append(Object.assign(document.createElement(tag), { textContent: content }));
  }
  $("messages").append(item);
  item.scrollIntoView({ block: "end" });
  return item;
}

function showPeople(people) {
  $("people").textContent = people.join(", ");
}

let forget;
function showTyping(who) {
  $("typing").textContent = who && `${who} is typing …`;
  clearTimeout(forget);
  if (who) forget = setTimeout(showTyping, 3000, "");
}

function status(text) {
  $("status").textContent = text;
}

function ask(reason = "") {
  $("reason").textContent = reason;
  $("name").setAttribute("aria-invalid", Boolean(reason));
  $("chat").hidden = true;
  $("start").hidden = false;
  $("name").focus();
}

// --- what people do --------------------------------------------------------------------------------------------------

$("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await fetch("/sign-in", { method: "POST", body: JSON.stringify({ name: $("name").value.trim() }) });
  const session = await answer.json();
  if (!answer.ok) return ask(session.message);
  sessionStorage.setItem("session", JSON.stringify(session));
  connect(session);
});

$("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  enter();
});

let told = 0; // when the others were last told that one types
$("say").addEventListener("submit", (event) => {
  event.preventDefault();
  say($("text").value);
  $("text").value = "";
  told = 0;
});

$("text").addEventListener("input", () => {
  if (Date.now() - told < 2000) return;
  told = Date.now();
  socket.volatile.emit("typing");
});

$("room").value = decodeURIComponent(location.hash.slice(1)) || "lobby";
const session = JSON.parse(sessionStorage.getItem("session"));
if (session) connect(session);
else ask();

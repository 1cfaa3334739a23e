const $ = (id) => document.getElementById(id);
const SILENT = 3500; // milliseconds without a beat after which a server is shown as gone
const NAMES = ["Otter", "Heron", "Lynx", "Wren", "Badger", "Stork", "Hare", "Owl"];

const socket = io({ retries: 20, ackTimeout: 4000 }); // what was not answered is said again, also to another server

// --- where one is ----------------------------------------------------------------------------------------------------

let here = null; // the server that this page is connected to
let away = null; // while there is no connection: the server before, and the number of events that are made up for

socket.onAny(() => {
  if (away) away.missed += 1; // a recovered client gets what it has missed before "connect"
});

socket.on("connect", () => {
  if (!away) return;
  away.recovered = socket.recovered;
  if (!socket.recovered) beats.clear(); // what was emitted meanwhile is not made up for
});

socket.on("welcome", (server) => {
  here = server;
  if (away) showMove(away, server);
  away = null;
  showStatus();
  showServers();
});

socket.on("disconnect", () => {
  away ??= { from: here, missed: 0, since: Date.now() };
  here = null;
  showStatus();
  showServers();
});

// While Redis is away, a server lets nobody in to whom it cannot say welcome; a client that was refused does not come back
// by itself.
socket.on("connect_error", () => socket.active || setTimeout(() => socket.connect(), 2000));

socket.io.engine?.on("upgrade", showStatus);
socket.io.on("open", () => socket.io.engine.on("upgrade", showStatus));

function showStatus() {
  $("status").dataset.state = here ? "online" : "offline";
  $("status").textContent = here ? `On ${here.name} by ${socket.io.engine.transport.name}` : "Looking for another server …";
}

function showMove({ from, missed, recovered, since }, to) {
  const item = add("move");
  item.dataset.recovered = recovered ? "yes" : "no";
  item.dataset.missed = missed;
  const seconds = ((Date.now() - since) / 1000).toFixed(1);
  const way = from.name === to.name ? `Back on ${to.name}` : `From ${from.name} to ${to.name}`;
  line(item, "what", `${way} after ${seconds} s`);
  const events = missed === 1 ? "the event that was missed has" : `the ${missed} events that were missed have`;
  // A server in Node writes a session down when the client leaves, so a kill -9 leaves none.
  const why = from.runtime === "Node" ? "a server in Node that is killed leaves no sessions" : "the session was not there";
  line(item, "how", recovered ? `Recovered: ${events} come` : `Not recovered: ${why}`);
}

// --- the servers -----------------------------------------------------------------------------------------------------

const servers = new Map(); // by name: the last beat, and when it came
const beats = new Map(); // by name and process: the number of the last beat
const count = { received: 0, missing: 0, twice: 0 };

socket.on("beat", (beat) => {
  const { server, number } = beat;
  const key = `${server.name} ${server.pid}`;
  const last = beats.get(key) ?? number - 1;
  count.received += 1;
  if (number <= last) count.twice += 1;
  else {
    count.missing += number - last - 1;
    beats.set(key, number);
  }
  servers.set(server.name, { ...beat, at: Date.now() });
  for (const [name, value] of Object.entries(count)) $(name).textContent = value;
  showServers();
});

setInterval(showServers, 500);

function showServers() {
  for (const name of [...servers.keys()].sort()) {
    const { server, clients, number, at } = servers.get(name);
    const card = $(`server-${name}`) ?? addCard(name);
    const gone = socket.connected && Date.now() - at > SILENT;
    card.dataset.state = gone ? "gone" : here?.pid === server.pid ? "here" : "there";
    card.dataset.pid = server.pid;
    const text = {
      runtime: server.runtime,
      place: gone ? "Gone" : here?.pid === server.pid ? "You are here" : "",
      clients: gone ? "It comes back in a moment" : clients === 1 ? "1 client" : `${clients} clients`,
      number: gone ? "" : `· beat ${number}`,
      kill: gone ? "" : `kill -9 ${server.pid}`,
    };
    for (const [part, value] of Object.entries(text)) {
      const node = card.querySelector(`.${part}`);
      if (node.textContent !== value) node.textContent = value;
    }
  }
}

function addCard(name) {
  const card = document.createElement("li");
  card.id = `server-${name}`;
  card.innerHTML = `<h3></h3><span class="runtime"></span><span class="place"></span>
    <p><span class="clients"></span> <span class="number"></span></p><code class="kill"></code>`;
  card.querySelector("h3").textContent = name;
  const later = [...$("servers").children].find((each) => each.id > card.id);
  $("servers").insertBefore(card, later ?? null);
  return card;
}

// --- the chat --------------------------------------------------------------------------------------------------------

$("name").value = sessionStorage.getItem("name") ?? NAMES[Math.floor(Math.random() * NAMES.length)];
$("name").addEventListener("change", () => sessionStorage.setItem("name", $("name").value));

const mine = new Map(); // messages of this page that nobody has got yet
const seen = new Set(); // the keys of those that are shown: one that was said twice is shown once

$("say").addEventListener("submit", async (event) => {
  event.preventDefault();
  const [name, text] = [$("name").value.trim(), $("text").value.trim()];
  if (!name || !text) return;
  const key = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(36).padStart(2, "0")).join("");
  $("text").value = "";
  const item = addMessage(name, text, "on its way …");
  item.dataset.state = "sending";
  mine.set(key, item);
  const answer = await socket.emitWithAck("say", { key, name, text }).catch((error) => ({ error }));
  if (answer?.error && !seen.has(key)) {
    item.dataset.state = "failed";
    item.querySelector(".from").textContent = `not sent: ${answer.error.message ?? answer.error.code}`;
  }
});

socket.on("said", ({ key, name, text, server }) => {
  if (seen.has(key)) return;
  seen.add(key);
  const item = mine.get(key) ?? addMessage(name, text, "");
  mine.delete(key);
  item.dataset.state = "sent";
  item.querySelector(".from").textContent = `from ${server}`;
});

function addMessage(name, text, from) {
  const item = add("message");
  line(item, "who", name);
  line(item, "from", from);
  line(item, "text", text);
  return item;
}

function add(kind) {
  const [talk, log] = [$("talk"), $("log")];
  const atEnd = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 40;
  const item = log.appendChild(document.createElement("li"));
  item.className = kind;
  while (log.children.length > 200) log.firstChild.remove();
  if (atEnd) requestAnimationFrame(() => (talk.scrollTop = talk.scrollHeight));
  return item;
}

function line(item, name, text) {
  item.appendChild(Object.assign(document.createElement("span"), { className: name, textContent: text }));
}

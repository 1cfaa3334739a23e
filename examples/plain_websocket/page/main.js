// A chat by the browser's own WebSocket: no library. The types are those of server.py.
const INVALID_TOKEN = 0, WELCOME = 1, TO_ALL = 2, TO_OTHERS = 3, PRIVATE = 4, PEOPLE = 5, OFFLINE = 6;

const find = (id) => document.getElementById(id);
let socket = null;
let me = "";

find("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  connect(find("token").value);
});

find("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const to = find("to").value, data = find("text").value;
  if (!data.trim() || socket?.readyState !== WebSocket.OPEN) return;
  if (to === "all") send({ type: TO_ALL, data });
  else if (to === "others") send({ type: TO_OTHERS, data });
  else send({ type: PRIVATE, usr: to, data });
  if (to !== "all") show(to === "others" ? TO_OTHERS : PRIVATE, me, data, to === "others" ? "to all others" : `to ${to}`);
  find("text").value = "";
});

function connect(token) {
  socket?.close();
  find("log").replaceChildren();
  tell("connecting", "Connecting …");
  const url = new URL("/ws", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  url.searchParams.set("token", token);
  const mine = socket = new WebSocket(url);
  mine.addEventListener("message", (event) => mine === socket && receive(JSON.parse(event.data)));
  mine.addEventListener("close", (event) => {
    if (mine !== socket) return;
    list([]);
    tell("offline", event.reason ? `Offline: ${event.reason} (${event.code})` : "Offline");
  });
}

function send(message) {
  socket.send(JSON.stringify(message));
}

function receive({ type, usr, data }) {
  if (type === WELCOME) {
    me = usr;
    tell("online", `You are ${usr}`);
    show(type, "", data);
  } else if (type === PEOPLE) {
    list(data);
  } else if (type === TO_ALL || type === TO_OTHERS) {
    show(type, usr, data);
  } else if (type === PRIVATE) {
    show(type, usr, data, "to you alone");
  } else if (type === OFFLINE || type === INVALID_TOKEN) {
    show(type, "", data);
  }
}

function list(names) {
  find("people").textContent = names.join(", ");
  const chosen = find("to").value;
  find("to").querySelectorAll("option.person").forEach((each) => each.remove());
  for (const name of names.filter((each) => each !== me)) {
    const option = new Option(`${name} alone`, name, false, name === chosen);
    option.className = "person";
    find("to").append(option);
  }
}

function show(type, usr, data, note = "") {
  const item = document.createElement("li");
  item.dataset.type = type;
  item.dataset.by = usr;
  if (usr) item.append(Object.assign(document.createElement("strong"), { textContent: usr }), " ");
  if (note) item.append(Object.assign(document.createElement("small"), { textContent: note }), " ");
  item.append(data);
  find("log").append(item);
  item.scrollIntoView({ block: "nearest" });
}

function tell(state, text) {
  find("status").dataset.state = state;
  find("status").textContent = text;
}

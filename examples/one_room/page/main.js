const ws = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}`;

/** Each opens a connection, tells what it hears, and returns a function that says something. */
const doors = {
  socketio: ["Socket.IO", openSocketIO],
  sse: ["Server-sent events", openEventSource],
  websocket: ["Plain WebSocket", (pane) => openWire(pane, () => new WebSocket(`${ws}/ws`))],
  stomp: ["STOMP", openStomp],
  sockjs: ["SockJS", (pane) => openWire(pane, () => new SockJS("/sockjs"))],
};

function openSocketIO({ show, hear }) {
  const socket = io();
  socket.on("connect", () => show(true));
  socket.on("disconnect", () => show(false));
  socket.on("said", hear);
  return (text) => socket.emit("say", text);
}

function openEventSource({ show, hear }) {
  const source = new EventSource("/events?room=lobby");
  let session; // a secret: with it, this page may send events
  source.addEventListener("connect", ({ data }) => show((session = JSON.parse(data).session)));
  source.addEventListener("said", ({ data }) => hear(JSON.parse(data)));
  source.addEventListener("error", () => show(false));
  return (text) => {
    const body = JSON.stringify({ event: "say", args: [text] });
    return fetch(`/events?sid=${session}`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
  };
}

/** The JSON protocol rtframework.v1, by a WebSocket or by what looks like one; neither comes back by itself. */
function openWire({ show, hear }, open) {
  let socket;
  const connect = () => {
    socket = open();
    socket.onmessage = ({ data }) => {
      const { type, event, args } = JSON.parse(data);
      if (type === "connected") show(true);
      if (type === "event" && event === "said") hear(args[0]);
    };
    socket.onclose = () => {
      show(false);
      setTimeout(connect, 1000);
    };
  };
  connect();
  return (text) => socket.send(JSON.stringify({ event: "say", args: [text] }));
}

function openStomp({ show, hear }) {
  const client = new StompJs.Client({
    brokerURL: `${ws}/stomp`,
    reconnectDelay: 1000,
    onConnect: () => {
      client.subscribe("/topic/lobby", ({ body }) => hear(JSON.parse(body)));
      show(true);
    },
    onWebSocketClose: () => show(false),
  });
  client.activate();
  const headers = { "content-type": "application/json" };
  return (text) => client.publish({ destination: "/app/say", headers, body: JSON.stringify(text) });
}

for (const [name, [title, open]] of Object.entries(doors)) {
  const pane = document.getElementById("door").content.firstElementChild.cloneNode(true);
  const [heading, status, form, log] = pane.children;
  const field = form.elements[0];
  pane.dataset.testid = name;
  heading.textContent = title;
  field.ariaLabel = `Text, by ${title}`;
  form.elements[1].ariaLabel = `Say, by ${title}`;
  log.ariaLabel = `Heard, by ${title}`;
  const show = (isOnline) => {
    pane.dataset.state = isOnline ? "online" : "offline";
    status.textContent = isOnline ? "Online" : "Offline";
  };
  const hear = ({ by, text }) => {
    const line = document.createElement("li");
    const via = document.createElement("span");
    via.textContent = by;
    line.append(text, via);
    log.prepend(line);
  };
  show(false);
  const say = open({ show, hear });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (pane.dataset.state === "online") say(field.value);
    field.value = "";
  });
  document.getElementById("doors").append(pane);
}

import { connect, presence } from "@rtframework/client";

const hosts = JSON.parse(document.getElementById("hosts").textContent);
const $ = (id) => document.getElementById(id);
const WORDS = {
  idle: () => "Not connected",
  connecting: ({ isMain }) => `Connecting to the ${isMain ? "main host" : "backup"} …`,
  connected: ({ isMain }) => `Connected to the ${isMain ? "main host" : "backup"}`,
  waiting: ({ failures, error }) => `Waiting before the next attempt (${failures} failed: ${error?.message})`,
  offline: () => "No network: waiting for it",
  refused: ({ error }) => `Refused: ${error?.message}`,
  kicked: ({ kick, error }) => `Thrown out: ${kick?.reason ?? error?.message}`,
  "signed-out": () => "Signed out",
  closed: () => "Closed",
};

function note(text) {
  const item = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = new Date().toLocaleTimeString();
  item.append(time, ` ${text}`);
  $("entries").prepend(item);
}

$("name").value = localStorage.getItem("name") ?? "";
$("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("name").value.trim();
  if (!name) return;
  localStorage.setItem("name", name);
  $("enter").hidden = true;
  $("inside").hidden = false;
  enter(name, $("place").value);
});

function enter(name, runIn) {
  let token;
  const connection = connect({
    hosts,
    runIn,
    session: name,
    returnAfter: 10_000, // soon, to be seen
    async getToken({ reason }) {
      if (reason !== "connect" || !token) {
        note(`A new token is fetched: ${reason}`);
        token = await (await fetch("/token", { method: "POST", body: name })).text();
      }
      return token;
    },
    onKicked: ({ reason, reconnect }) => note(`Thrown out: ${reason}${reconnect ? "; coming back" : ""}`),
    onSignedOut: () => note("Signed out, in all tabs of the connection"),
  });
  const { socket } = connection;

  let last;
  connection.status.subscribe((status) => {
    const text = WORDS[status.state](status);
    $("status").textContent = text;
    $("status").dataset.state = status.state;
    $("host").textContent = `${status.host} (${status.isMain ? "main" : "backup"})`;
    $("runs-in").textContent = { page: "this page", worker: "a Worker", "shared-worker": "a SharedWorker" }[status.runsIn];
    $("again").hidden = !["idle", "refused", "kicked", "signed-out"].includes(status.state);
    if (text !== last) note(text);
    last = text;
  });
  presence(socket, "everybody").subscribe((members) => {
    $("people").textContent = members.map(({ user }) => user).join(", ") || "nobody";
  });
  socket.on("connect", () => socket.emit("join"));
  socket.on("waved", (who) => note(`${who} waves`));

  const click = (id, act) => $(id).addEventListener("click", act);
  click("wave", () => socket.emit("wave"));
  click("reconnect", () => connection.reconnect());
  click("revoke", () => socket.emit("revoke me"));
  click("kick-back", () => socket.emit("kick me", true));
  click("kick", () => socket.emit("kick me", false));
  click("sign-out", () => connection.signOut());
  click("again", () => connection.connect());
}

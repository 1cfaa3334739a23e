const room = "match:1";
const at = (id) => document.getElementById(id);
let session;

const source = new EventSource(`/events?room=${room}&history=20`);

source.addEventListener("connect", ({ data }) => {
  session = JSON.parse(data).session; // a secret: with it, this page may send events
  show("online", "Online");
});

source.addEventListener("goal", ({ data }) => {
  const { team, home, away } = JSON.parse(data);
  at("score").textContent = `${home} : ${away}`;
  const line = document.createElement("li");
  line.textContent = `${home} : ${away} by the ${team === "home" ? "home team" : "guests"}`;
  at("log").prepend(line);
});

source.addEventListener("gap", () => location.reload()); // some goals cannot be had any more

source.addEventListener("error", () => {
  show("offline", source.readyState === EventSource.CLOSED ? "Offline" : "Coming back");
});

for (const team of ["home", "away"]) {
  at(team).addEventListener("click", () => {
    const body = JSON.stringify({ event: "goal", args: [room, team] });
    fetch(`/events?sid=${session}`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
  });
}

function show(state, text) {
  at("status").dataset.state = state;
  at("status").textContent = text;
}

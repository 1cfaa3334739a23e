const $ = (id) => document.getElementById(id);
let socket;

async function tokenFor(name) {
  const response = await fetch("/sign-in", { method: "POST", body: JSON.stringify({ name }) });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.message ?? `The server answers ${response.status}`);
  return answer.token;
}

function connect(name, token) {
  // Called at each connection: the first time with the token that is there, after a break with a new one.
  const auth = async (send) => {
    send({ token: token ?? (await tokenFor(name).catch(() => undefined)) });
    token = undefined;
  };
  socket = io({ auth });
  socket.on("connect", () => ($("status").textContent = `Connected as ${name}`));
  socket.on("disconnect", () => ($("status").textContent = "Reconnecting …"));
  socket.on("connect_error", (error) => {
    if (socket.active) return; // the network: it tries again by itself
    ask(error.message); // the server has refused the token
  });
  socket.on("people", (count) => (document.title = `project-name (${count})`));
  socket.on("message", show);
}

function show({ author, text }) {
  const item = document.createElement("li");
  item.textContent = `${author}: ${text}`;
  $("messages").append(item);
}

function ask(reason) {
  $("status").textContent = reason;
  $("sign-in").hidden = false;
  $("say").hidden = true;
}

$("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = $("name").value.trim();
  try {
    const token = await tokenFor(name);
    $("sign-in").hidden = true;
    $("say").hidden = false;
    $("text").focus();
    connect(name, token);
  } catch (error) {
    ask(error.message);
  }
});

$("say").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("text").value;
  try {
    const answer = await socket.timeout(5000).emitWithAck("say", { text });
    if (answer.error) throw new Error(answer.error.message);
    $("text").value = "";
    show(answer);
  } catch (error) {
    $("status").textContent = `Not sent: ${error.message}`;
  }
});

// The page talks REST to change things and hears by its socket what anybody changed.

const $ = (id) => document.getElementById(id);
const LABELS = { new: "ordered", making: "being made", ready: "ready" };
let socket;
let again;

function element(tag, properties = {}, ...children) {
  const { dataset, ...rest } = properties;
  const node = Object.assign(document.createElement(tag), rest);
  Object.assign(node.dataset, dataset);
  node.append(...children);
  return node;
}

function toast(text) {
  $("toast").textContent = text;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => ($("toast").textContent = ""), 5000);
}

async function api(method, path, data) {
  const response = await fetch(`/api${path}`, {
    method,
    headers: { "Content-Type": "application/json" },
    body: data && JSON.stringify(data),
  });
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.message), { status: response.status });
  return answer;
}

// For event handlers: what fails is shown.
const shown = (action) => async (event) => {
  event?.preventDefault();
  try {
    await action();
  } catch (error) {
    if (error.status === 401) signedOut();
    toast(error.message);
  }
};

function draw(order) {
  const button = (testid, text, action) =>
    element("button", { type: "button", textContent: text, onclick: shown(action), dataset: { testid } });
  const change = (state) => () => api("PATCH", `/orders/${order.id}`, { state });
  const item = element(
    "li",
    { dataset: { id: order.id, state: order.state } },
    element("div", {}, order.item, element("small", { textContent: `${order.by} · ${LABELS[order.state]}` })),
  );
  if (order.state === "new") item.append(button("start", "Start", change("making")));
  if (order.state === "making") item.append(button("done", "Ready", change("ready")));
  if (order.state === "ready") {
    item.append(button("call", "Call out", () => socket.timeout(5000).emitWithAck("call_out", order.id)));
  }
  const before = $("orders").querySelector(`[data-id="${order.id}"]`);
  if (before) before.replaceWith(item);
  else $("orders").prepend(item);
}

function status(state, text, transport = "") {
  Object.assign($("status").dataset, { state, transport });
  $("status").textContent = text;
}

function signedIn() {
  $("sign-in").hidden = true;
  $("board").hidden = $("sign-out").hidden = false;
  clearTimeout(again);
  socket?.close();
  socket = window.io({ path: "/api/live" }); // the cookie goes along by itself
  socket.on("connect", async () => {
    const online = () => status("online", `Live by ${socket.io.engine.transport.name}`, socket.io.engine.transport.name);
    online();
    socket.io.engine.once("upgrade", online);
    // What was missed while there was no connection: the list is small enough to fetch anew.
    await shown(async () => {
      const orders = await api("GET", "/orders");
      $("orders").replaceChildren();
      orders.forEach(draw);
    })();
  });
  socket.on("connect_error", (error) => {
    status("connecting", "Connecting …");
    if (error.data?.code === "no_session") signedOut();
  });
  socket.on("disconnect", (reason) => {
    status("offline", "Reconnecting …");
    if (reason === "io server disconnect") again = setTimeout(() => socket.connect(), 1000);
  });
  socket.on("order", draw);
  socket.on("called_out", (order, by) => {
    $("called").textContent = `${by} calls: ${order.item} for ${order.by}!`;
  });
}

function signedOut() {
  clearTimeout(again);
  socket?.close();
  status("offline", "");
  $("sign-in").hidden = false;
  $("board").hidden = $("sign-out").hidden = true;
  $("name").focus();
}

$("sign-in").addEventListener("submit", shown(async () => {
  await api("POST", "/sign-in", { name: $("name").value.trim() });
  signedIn();
}));
$("sign-out").addEventListener("click", shown(async () => {
  await api("POST", "/sign-out", {});
  signedOut();
}));
$("order").addEventListener("submit", shown(async () => {
  await api("POST", "/orders", { item: $("item").value });
  $("item").value = "";
}));

if (window.io) {
  // Whether there is a session only the server knows: the cookie is hidden from scripts.
  fetch("/api/orders").then(({ ok }) => (ok ? signedIn() : signedOut()));
} else {
  toast("The Socket.IO client could not be loaded: check the network, or run “npm install socket.io-client”.");
}

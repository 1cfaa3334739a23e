// Pictures go out as an event with bytes in it and come in the same way: no upload route, no base64.

const $ = (id) => document.getElementById(id);
const ANSWER_WITHIN = 30_000; // milliseconds; a picture may be big and a line slow
let maxSize = 0;
let socket;

function element(tag, properties = {}, ...children) {
  const { dataset, ...rest } = properties;
  const node = Object.assign(document.createElement(tag), rest);
  Object.assign(node.dataset, dataset);
  node.append(...children);
  return node;
}

function toast(text) {
  const node = element("p", { className: "toast", textContent: text, dataset: { testid: "toast" } });
  $("toasts").append(node);
  setTimeout(() => node.remove(), 6000);
}

async function ask(event, payload) {
  const answer = await socket.timeout(ANSWER_WITHIN).emitWithAck(event, payload);
  if (answer?.error) throw Object.assign(new Error(answer.error.message), answer.error);
  return answer;
}

const sized = (bytes) =>
  bytes < 1024 ** 2 ? `${Math.ceil(bytes / 1024)} KiB` : `${(bytes / 1024 ** 2).toFixed(1)} MiB`;

// An object URL keeps its picture in memory until it is revoked. The image has it once it is loaded; the blob stays
// for the large view.
function show(image, blob) {
  const url = URL.createObjectURL(blob);
  image.onload = image.onerror = () => URL.revokeObjectURL(url);
  image.src = url;
}

function tile(blob, { id = "", name, by, type = "", size }, state) {
  const image = element("img", { alt: name || "A picture" });
  const button = element("button", { type: "button", title: "Show large" }, image);
  button.addEventListener("click", () => view(blob, image.alt));
  const line = element("p", {}, element("strong", { textContent: by }), ` ${name} · ${sized(size)}`);
  const item = element("li", { dataset: { id, state, type, by } }, button, line);
  show(image, blob);
  // The newest first; one that came while earlier ones were being fetched stands before them.
  const older = [...$("wall").children].find((other) => !id || Number(other.dataset.id || Infinity) < id);
  $("wall").insertBefore(item, older ?? null);
  return item;
}

function view(blob, name) {
  const image = $("viewer").querySelector("img");
  image.alt = name;
  show(image, blob);
  $("viewer").showModal();
}
$("viewer").addEventListener("click", () => $("viewer").close());

async function send(file) {
  if (maxSize && file.size > maxSize) {
    return toast(`${file.name} has ${sized(file.size)}: a picture can have ${sized(maxSize)} at most.`);
  }
  if (!socket.connected) return toast("There is no connection: please try again when it is back.");
  const by = $("name").value.trim() || "Somebody";
  const item = tile(file, { name: file.name, by, size: file.size }, "sending");
  try {
    const about = await ask("picture", { name: file.name.slice(0, 100), by, data: await file.arrayBuffer() });
    Object.assign(item.dataset, { id: about.id, state: "shown", type: about.type });
  } catch (error) {
    item.remove();
    toast(`${file.name}: ${error.code ? error.message : "it could not be sent."}`);
  }
}

async function sendAll(files) {
  for (const file of files) await send(file); // one after the other, so that they stay in order
}

async function enter() {
  const room = $("room").value.trim().toLowerCase().replace(/\s+/g, "-");
  if (!room) return;
  history.replaceState(null, "", `#${encodeURIComponent(room)}`);
  document.title = `${room} · Pictures`;
  try {
    const { max_size, pictures } = await ask("enter", { room });
    maxSize = max_size;
    $("limit").textContent = `Everybody in the room sees it. Up to ${sized(maxSize)}.`;
    $("wall").replaceChildren();
    for (const { id } of pictures) take(await ask("fetch", id));
  } catch (error) {
    if (error.code === "invalid_payload") toast("A room's name has letters, digits and dashes.");
    else if (error.code !== "gone" && socket.connected) toast(error.message);
  }
}

// One that came while the earlier ones were being fetched is here already.
function take({ about, data }) {
  if ([...$("wall").children].some((item) => item.dataset.id === String(about.id))) return;
  tile(new Blob([data], { type: about.type }), about, "shown");
}

function status(state, text, transport = "") {
  Object.assign($("status").dataset, { state, transport });
  $("status").textContent = text;
}

function start() {
  $("room").value = decodeURIComponent(location.hash.slice(1)) || "kitchen";
  $("name").value = localStorage.getItem("pictures.name") ?? "";

  socket = window.io();
  socket.on("connect", () => {
    const online = () => status("online", `Online by ${socket.io.engine.transport.name}`, socket.io.engine.transport.name);
    online();
    socket.io.engine.once("upgrade", online);
    enter();
  });
  socket.on("disconnect", (reason) => {
    status("reconnecting", "Reconnecting …");
    $("people").textContent = ""; // not known any more
    if (reason === "io server disconnect") setTimeout(() => socket.connect(), 1000);
  });
  socket.on("picture", take);
  socket.on("people", (number) => {
    $("people").textContent = `${number} ${number === 1 ? "person" : "people"} here`;
  });

  $("enter").addEventListener("submit", (event) => event.preventDefault()); // "change" comes first
  $("room").addEventListener("change", enter);
  $("name").addEventListener("change", () => localStorage.setItem("pictures.name", $("name").value.trim()));
  $("file").addEventListener("change", async () => {
    const files = [...$("file").files];
    $("file").value = "";
    await sendAll(files);
  });
  addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length) sendAll(files);
  });
  addEventListener("dragover", (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
  addEventListener("dragleave", (event) => event.relatedTarget || $("drop").classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    $("drop").classList.remove("over");
    sendAll([...event.dataTransfer.files]);
  });
}

if (window.io) start();
else toast("The Socket.IO client could not be loaded: check the network, or run “npm install socket.io-client”.");

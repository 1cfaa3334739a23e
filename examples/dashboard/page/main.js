import { Chart } from "./chart.js";

const $ = (selector) => document.querySelector(selector);
const KEPT = 120; // samples, as on the server
const charts = { temperature: new Chart($("#temperature .chart"), KEPT), humidity: new Chart($("#humidity .chart"), KEPT) };
let samples = [];

const socket = io();

// --- what comes ------------------------------------------------------------------------------------------------------

socket.on("connect", () => status("online", "Live"));
socket.on("disconnect", () => {
  status("offline", "Reconnecting …");
  $("#watching").textContent = ""; // not known any more
});

socket.on("state", (state) => {
  samples = state.samples;
  draw();
  showPicture(state.picture);
  showSettings(state.settings);
});

socket.on("sample", (sample) => {
  samples.push(sample);
  samples.splice(0, samples.length - KEPT);
  draw();
});

socket.on("picture", showPicture);
socket.on("settings", showSettings);
socket.on("servers", showServers);
socket.on("watching", (count) => ($("#watching").textContent = count === 1 ? "Only you watch" : `${count} watch`));

// --- what is seen ----------------------------------------------------------------------------------------------------

function draw() {
  for (const [name, chart] of Object.entries(charts)) {
    chart.draw(samples.map((sample) => sample[name]));
    if (samples.length) $(`#${name} output`).textContent = samples.at(-1)[name].toFixed(1);
  }
}

function showPicture({ type, data, time }) {
  const image = $("#camera img");
  const url = URL.createObjectURL(new Blob([data], { type }));
  image.onload = image.onerror = () => URL.revokeObjectURL(url);
  image.src = url;
  $("#camera time").textContent = new Date(time * 1000).toLocaleTimeString();
}

function showSettings({ heater, target }) {
  $("#heater").checked = heater === "on";
  $("#target").value = target;
  $("#target-value").textContent = target;
}

function showServers({ up, gaps, nodes }) {
  const lost = gaps === 0 ? "" : gaps === 1 ? ", messages were lost once" : `, messages were lost ${gaps} times`;
  $("#cluster").dataset.state = up ? "online" : "offline";
  $("#cluster").textContent = (up ? "All reach each other" : "The others cannot be reached") + lost;
  $("#servers ul").replaceChildren(
    ...nodes.map(({ name, sockets, here }) => {
      const item = document.createElement("li");
      const clients = sockets === null ? "" : sockets === 1 ? ", 1 client" : `, ${sockets} clients`;
      item.textContent = (here ? `${name} (this one)` : name) + clients;
      return item;
    }),
  );
}

function status(state, text) {
  $("#status").dataset.state = state;
  $("#status").textContent = text;
}

// --- what people do --------------------------------------------------------------------------------------------------

$("#target").addEventListener("input", () => ($("#target-value").textContent = $("#target").value));

$("#settings").addEventListener("change", async () => {
  const settings = { heater: $("#heater").checked ? "on" : "off", target: Number($("#target").value) };
  const answer = await socket.timeout(5000).emitWithAck("set", settings).catch((error) => ({ error }));
  $("#problem").textContent = answer.error ? `Not set: ${answer.error.message}` : "";
});

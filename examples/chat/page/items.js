// What stands in a list of messages. Text from people is only ever set as text, never as HTML.

export function element(tag, properties = {}, ...children) {
  const { dataset, ...rest } = properties;
  const node = Object.assign(document.createElement(tag), rest);
  Object.assign(node.dataset, dataset);
  node.append(...children);
  return node;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

// A colour for each name, the same on every screen.
function hue(name) {
  let hash = 2166136261;
  for (const char of name.toLowerCase()) hash = Math.imul(hash ^ char.codePointAt(0), 16777619);
  return ((hash >>> 14) % 15) * 24;
}

export function paint(node, person) {
  const words = person.name.split(/\s+/);
  const initials = words.length > 1 ? words[0][0] + words.at(-1)[0] : [...person.name].slice(0, 2).join("");
  node.textContent = initials.toUpperCase();
  node.style.setProperty("--hue", hue(person.name));
  return node;
}

export function avatar(person) {
  const node = element("span", { className: "avatar" });
  node.setAttribute("aria-hidden", "true");
  return paint(node, person);
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const LINK = /\bhttps?:\/\/[^\s<>"]+[^\s<>"'.,:;!?)\]]/g;

function withLinks(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    parts.push(text.slice(end, match.index));
    parts.push(element("a", { href: match[0], textContent: match[0], target: "_blank", rel: "noopener noreferrer" }));
    end = match.index + match[0].length;
  }
  return [...parts, text.slice(end)];
}

export function messageItem(item, retry) {
  const who = element("span", { className: "who", textContent: item.mine ? "You" : item.author.name });
  who.style.setProperty("--hue", hue(item.author.name));
  const text = element("p", { className: "text", dataset: { testid: "message-text" } }, ...withLinks(item.text));
  const bubble = element("div", { className: "bubble" }, text);
  const body = element("div", { className: "body" }, who, bubble, element("div", { className: "state" }));
  const node = element("li", { className: "message", dataset: { kind: "message", author: item.author.name } });
  node.classList.toggle("mine", item.mine);
  node.append(avatar(item.author), body);
  item.element = node;
  confirmItem(item, retry);
  return node;
}

// Shows whether a message is on its way, posted, or refused.
export function confirmItem(item, retry) {
  const { element: node } = item;
  const state = item.id ? "sent" : item.reason ? "failed" : "pending";
  Object.assign(node.dataset, { key: item.key, state });
  node.querySelector(".bubble").title = new Date(item.time).toLocaleString();
  const line = node.querySelector(".state");
  line.replaceChildren();
  if (state === "failed") {
    const again = element("button", { type: "button", textContent: "Try again", dataset: { testid: "retry" } });
    again.addEventListener("click", () => retry(item));
    line.append(`Not sent: ${item.reason} `, again);
  } else {
    line.append(
      state === "pending"
        ? "Not sent yet"
        : element("time", { dateTime: item.time, textContent: CLOCK.format(new Date(item.time)) }),
    );
  }
}

export function noticeItem({ text, time }) {
  const when = element("time", { dateTime: time, textContent: CLOCK.format(new Date(time)) });
  return element("li", { className: "notice", dataset: { kind: "notice" } }, element("span", { textContent: text }), when);
}

// Messages of one person in a row stand together; a new day gets a line.
export function arrange(items) {
  let before = null;
  for (const [at, item] of items.entries()) {
    const after = items[at + 1];
    const day = new Date(item.time).toDateString();
    if (!before || before.day !== day) item.element.dataset.day = DAY.format(new Date(item.time));
    else delete item.element.dataset.day;
    item.day = day;
    item.element.classList.toggle("first", !together(before, item));
    item.element.classList.toggle("last", !after || !together(item, after));
    before = item;
  }
}

function together(a, b) {
  return (
    a?.kind === "message" &&
    b.kind === "message" &&
    a.author.id === b.author.id &&
    new Date(b.time) - new Date(a.time) < 5 * 60_000 &&
    new Date(a.time).toDateString() === new Date(b.time).toDateString()
  );
}

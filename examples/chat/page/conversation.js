// One room or one private conversation: its messages in order, its people, what is unread. No page in here but the
// list element that shows it.

import { messageItem, noticeItem, arrange, confirmItem } from "./items.js";

const KEPT = 500; // messages and notices shown at most

export class Conversation {
  constructor({ id, kind, name, person = null }) {
    Object.assign(this, { id, kind, name, person });
    this.people = new Map(); // id -> person; rooms only
    this.joined = kind === "private";
    this.loaded = false;
    this.unread = 0;
    this.draft = "";
    this.atEnd = true;
    this.typing = new Map(); // person's id -> {name, timer}
    this.returning = new Set(); // people who were here before our connection broke
    this.items = [];
    this.list = document.createElement("ol");
    this.list.className = "messages";
    this.list.dataset.testid = "messages";
    this.list.setAttribute("aria-label", `Messages in ${name}`);
  }

  // Adds a message, or brings up to date the one with its key. True when it was not there.
  put(message, { mine, retry }) {
    const known = this.items.find((item) => item.key === message.key && item.author.id === message.author.id);
    if (known) {
      if (known.id && !message.id) return false;
      this.items.splice(this.items.indexOf(known), 1);
      Object.assign(known, { id: null, reason: null }, message);
      confirmItem(known, retry);
      this.#insert(known);
      return false;
    }
    const item = { kind: "message", mine, ...message };
    item.element = messageItem(item, retry);
    this.#insert(item);
    return true;
  }

  notice(text) {
    const last = this.items.findLast((item) => item.id);
    const item = { kind: "notice", text, time: new Date().toISOString(), after: last?.id ?? "0" };
    item.element = noticeItem(item);
    this.#insert(item);
  }

  // Server ids are hexadecimal numbers of one length that grow; a notice stays behind the message it came after;
  // what is not confirmed comes last.
  #insert(item) {
    item.order = item.kind === "notice" ? `${item.after}~` : (item.id ?? "~");
    let at = this.items.length;
    while (at > 0 && this.items[at - 1].order > item.order) at -= 1;
    this.items.splice(at, 0, item);
    this.list.insertBefore(item.element, this.items[at + 1]?.element ?? null);
    while (this.items.length > KEPT) this.items.shift().element.remove();
    arrange(this.items);
  }

  typist(person) {
    clearTimeout(this.typing.get(person.id)?.timer);
    this.typing.delete(person.id);
  }
}

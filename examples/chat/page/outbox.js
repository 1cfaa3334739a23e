// What was written and not yet confirmed. The messages of a conversation go out one at a time, in order; the server
// posts a message once, however often it gets it, because each carries a key. Kept in sessionStorage, so that a reload
// loses nothing.

const KEY = "chat.outbox";
const PATIENCE = 10_000; // milliseconds: after the server was restarted, others may be back later than we are

export class Outbox {
  #entries = [];
  #open = false;
  #running = new Set(); // conversations
  #opened = 0;

  // deliver(entry) sends and resolves with the message as posted; it rejects with {code} when the server refuses.
  constructor({ deliver, sent, failed }) {
    Object.assign(this, { deliver, sent, failed });
  }

  // What an earlier page of this tab left unsent by the same person.
  restore(owner) {
    let kept = null;
    try {
      kept = JSON.parse(sessionStorage.getItem(KEY));
    } catch {}
    this.#entries = kept?.owner === owner ? kept.entries : [];
    this.owner = owner;
    return [...this.#entries];
  }

  add(entry) {
    this.#entries.push(entry);
    this.#save();
    this.#run(entry.to);
  }

  remove(key) {
    this.#entries = this.#entries.filter((entry) => entry.key !== key);
    this.#save();
  }

  clear() {
    this.#entries = [];
    sessionStorage.removeItem(KEY);
  }

  // Open while the connection is up and its rooms are joined again.
  open() {
    this.#open = true;
    this.#opened = Date.now();
    for (const to of new Set(this.#entries.map((entry) => entry.to))) this.#run(to);
  }

  close() {
    this.#open = false;
  }

  #save() {
    sessionStorage.setItem(KEY, JSON.stringify({ owner: this.owner, entries: this.#entries }));
  }

  async #run(to) {
    if (this.#running.has(to)) return;
    this.#running.add(to);
    let entry;
    while (this.#open && (entry = this.#entries.find((one) => one.to === to))) {
      try {
        const message = await this.deliver(entry);
        this.remove(entry.key);
        this.sent(entry, message);
      } catch (error) {
        const later = error.code === "not_here" && Date.now() - this.#opened < PATIENCE;
        if (later || error.code === "rate_limited" || !error.code) {
          await new Promise((resolve) => setTimeout(resolve, 1000));
        } else {
          this.remove(entry.key);
          this.failed(entry, error);
        }
      }
    }
    this.#running.delete(to);
  }
}

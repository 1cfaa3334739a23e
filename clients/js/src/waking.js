/** @typedef {"offline" | "online" | "wake" | "visible" | "restored"} Wake what happened to the machine or the page */

const TICK = 2_000;
const JUMP = 4_000;

/**
 * Notice when the network goes or comes, and when the machine or the page wakes up. Works in pages and in workers;
 * visibility is only for pages.
 *
 * @param {(how: Wake) => void} report
 * @param {import("./timers.js").Timers} timers
 * @returns {() => void} ends it
 */
export function watchWaking(report, timers) {
  /** @type {Array<[EventTarget, string, (event: any) => void]>} */
  const events = [
    [globalThis, "online", () => report("online")],
    [globalThis, "offline", () => report("offline")],
  ];
  if (typeof document !== "undefined") {
    events.push(
      [document, "visibilitychange", () => document.visibilityState === "visible" && report("visible")],
      [document, "resume", () => report("wake")], // after the page was frozen; Chromium only
      [globalThis, "pageshow", (event) => event.persisted && report("restored")],
    );
  }
  for (const [target, name, listener] of events) target.addEventListener?.(name, listener);

  let last = Date.now();
  const tick = () => {
    const now = Date.now();
    const slept = now - last > TICK + JUMP;
    last = now;
    timer = timers.set(tick, TICK);
    if (slept) report("wake");
  };
  let timer = timers.set(tick, TICK);
  return () => {
    timers.clear(timer);
    for (const [target, name, listener] of events) target.removeEventListener?.(name, listener);
  };
}

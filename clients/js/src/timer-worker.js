// Keeps time for a page: { id, ms } begins a timer, { id } ends it, and the id comes back when the time is over.
/** @type {Map<number, ReturnType<typeof setTimeout>>} */
const timers = new Map();

onmessage = ({ data: { id, ms } }) => {
  clearTimeout(timers.get(id));
  timers.delete(id);
  if (ms === undefined) return;
  const ring = () => {
    timers.delete(id);
    postMessage(id);
  };
  timers.set(id, setTimeout(ring, ms));
};

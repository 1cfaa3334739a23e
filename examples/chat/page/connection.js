// The socket, and what the person should know of it.

const ANSWER_WITHIN = 8000; // milliseconds

export class Refused extends Error {
  constructor({ code, message }) {
    super(message);
    this.code = code;
  }
}

// token() gives the current token; status({state, transport, attempt}) is called on each change;
// turnedAway(code) when the server refuses the person. The rest of the handlers are the server's events.
export function connect({ token, status, turnedAway, down, events }) {
  const socket = window.io({
    auth: (send) => send({ token: token() }),
    reconnectionDelayMax: 5000,
  });
  let attempt = 0;
  let again;

  const online = () => {
    const engine = socket.io.engine;
    status({ state: "online", transport: engine.transport.name });
    engine.once("upgrade", (transport) => {
      if (socket.connected && engine === socket.io.engine) status({ state: "online", transport: transport.name });
    });
  };
  const trying = () => {
    if (!navigator.onLine) status({ state: "offline" });
    else if (attempt) status({ state: "reconnecting", attempt });
    else status({ state: "connecting" });
  };

  socket.on("connect", () => {
    attempt = 0;
    online();
  });
  socket.on("disconnect", (reason) => {
    down();
    if (reason === "io client disconnect") return;
    attempt = 1;
    trying();
    // The client library reconnects by itself unless the server ended the session on purpose, as when it shuts down.
    if (reason === "io server disconnect") again = setTimeout(() => socket.connect(), 1000);
  });
  socket.on("connect_error", (error) => {
    if (socket.active) return trying();
    if (error.data?.code) return turnedAway(error.data.code);
    attempt += 1;
    trying();
    again = setTimeout(() => socket.connect(), 5000);
  });
  socket.io.on("reconnect_attempt", (number) => {
    attempt = number;
    trying();
  });
  for (const [name, handler] of Object.entries(events)) socket.on(name, handler);

  const network = () => socket.connected || trying();
  addEventListener("online", network);
  addEventListener("offline", network);
  trying();

  return {
    // Rejects with Refused when the server says no, with another error when no answer came.
    async ask(event, ...payload) {
      const answer = await socket.timeout(ANSWER_WITHIN).emitWithAck(event, ...payload);
      if (answer?.error) throw new Refused(answer.error);
      return answer;
    },
    // For what is not worth sending late.
    hint: (event, payload) => socket.volatile.emit(event, payload),
    close() {
      clearTimeout(again);
      removeEventListener("online", network);
      removeEventListener("offline", network);
      socket.off();
      socket.disconnect();
    },
  };
}

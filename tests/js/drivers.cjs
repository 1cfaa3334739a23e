// Playwright's driver for many connections: `node drivers.cjs PACKAGE` prints the port of 127.0.0.1 that it listens on.
// Each connection is what `cli.js run-driver` has as its standard input and output. It ends when its own input does.
"use strict";

const net = require("node:net");
const path = require("node:path");

const { server } = require(path.join(process.argv[2], "lib", "coreBundle"));
const { DispatcherConnection, PlaywrightDispatcher, RootDispatcher, createPlaywright } = server;

function serve(socket) {
  const dispatchers = new DispatcherConnection();
  let replacer;
  const root = new RootDispatcher(dispatchers, async (scope, { sdkLanguage, supportsLoneSurrogates }) => {
    if (!supportsLoneSurrogates) {
      replacer = (key, value) => (typeof value === "string" ? value.toWellFormed() : value);
    }
    return new PlaywrightDispatcher(scope, createPlaywright({ sdkLanguage, isClientCollocatedWithServer: true }));
  });
  dispatchers.onmessage = (message) => {
    const data = Buffer.from(JSON.stringify(message, replacer));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(data.length);
    socket.cork();
    socket.write(length);
    socket.write(data);
    socket.uncork();
  };
  read(socket, (message) => dispatchers.dispatch(JSON.parse(message)));
  socket.setNoDelay();
  socket.on("error", () => {});
  socket.on("close", () => {
    dispatchers.onmessage = () => {};
    root._dispose();
  });
}

/** Call back with each message: four bytes of its length, then itself. */
function read(socket, received) {
  let data = Buffer.alloc(0);
  socket.on("data", (chunk) => {
    data = Buffer.concat([data, chunk]);
    while (data.length >= 4 && data.length - 4 >= data.readUInt32LE()) {
      const end = 4 + data.readUInt32LE();
      const message = data.toString("utf8", 4, end);
      data = data.subarray(end);
      setImmediate(() => received(message)); // each in a task of its own, as in Playwright's own driver
    }
  });
}

const listener = net.createServer(serve).listen(0, "127.0.0.1", () => console.log(listener.address().port));
process.stdin.resume().on("end", () => process.exit());

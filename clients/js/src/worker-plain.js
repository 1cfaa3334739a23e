// The worker of pages without a bundler. Import maps do not hold in workers: the page says where socket.io-client is.
import { serveWorker } from "./tab-server.js";

const client = new URL(globalThis.location.href).searchParams.get("client");
serveWorker({
  Manager: import(/* @vite-ignore */ /* webpackIgnore: true */ String(client)).then(({ Manager }) => Manager),
});

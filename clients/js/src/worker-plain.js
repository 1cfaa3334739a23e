// The worker of pages without a bundler: import maps do not hold in workers, so the page says where socket.io-client is.
import { serveWorker } from "./host.js";

const client = new URL(globalThis.location.href).searchParams.get("client");
serveWorker({ Manager: import(/* @vite-ignore */ /* webpackIgnore: true */ String(client)).then(({ Manager }) => Manager) });

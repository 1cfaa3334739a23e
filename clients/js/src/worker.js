export { serveWorker } from "./tab-server.js";

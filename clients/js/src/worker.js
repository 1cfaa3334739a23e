export { serveWorker } from "./host.js";

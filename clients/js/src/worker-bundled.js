// The worker of pages that a bundler has made, which finds socket.io-client.
import { Manager } from "socket.io-client";
import { serveWorker } from "./tab-server.js";

serveWorker({ Manager });

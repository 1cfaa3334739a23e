// The benchmark's server on Socket.IO for Bun: default settings.
import { Server as Engine } from "@socket.io/bun-engine";
import { Server } from "socket.io";
import { serve } from "./handlers.mjs";

const io = new Server();
const engine = new Engine({ path: "/socket.io/" });
io.bind(engine);
serve(io);
Bun.serve({ hostname: "127.0.0.1", port: Number(process.env.PORT), ...engine.handler() });

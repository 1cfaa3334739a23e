// The benchmark's server on Socket.IO for Node: default settings.
import { createServer } from "node:http";
import { Server } from "socket.io";
import { serve } from "./handlers.mjs";

const http = createServer();
serve(new Server(http));
http.listen(Number(process.env.PORT), "127.0.0.1");

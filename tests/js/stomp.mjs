// A stock @stomp/stompjs client, for tests/integration/test_stomp.py; the page there runs the same.
//
//   node stomp.mjs <url> <version>
//
// Standard output: one JSON line of what it has seen.

import { Client, Versions } from "@stomp/stompjs";
import WebSocket from "ws";
import { talk } from "./stomp_talk.mjs";

Object.assign(globalThis, { WebSocket });
const [url, version] = process.argv.slice(2);
console.log(JSON.stringify(await talk({ Client, Versions }, url, version)));

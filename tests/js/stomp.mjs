// A stock @stomp/stompjs client, for tests/integration/test_stomp.py; the page there runs the same.
//
//   node stomp.mjs <url> <version> [<transport>]
//
// With a transport of sockjs-client, it speaks over SockJS.
// Standard output: one JSON line of what it has seen.

import { Client, Versions } from "@stomp/stompjs";
import SockJS from "sockjs-client";
import WebSocket from "ws";
import { talk } from "./stomp_talk.mjs";

Object.assign(globalThis, { WebSocket });
const [url, version, transport] = process.argv.slice(2);
const over = transport && { SockJS, transport };
console.log(JSON.stringify(await talk({ Client, Versions, ...over }, url, version)));

// A reader of server-sent events for Node, which has no EventSource: as the HTML Standard says, 9.2.
// `node event_source.mjs URL [milliseconds]` writes each event as a line of JSON: [event, data, id].

let [url, retry = "3000"] = process.argv.slice(2);
let lastId = "";

async function read(response) {
  let data = [], name = "", id = lastId, rest = "";
  const take = (line) => {
    if (!line) {
      lastId = id;
      if (data.length) console.log(JSON.stringify([name || "message", data.join("\n"), lastId]));
      data = [];
      name = "";
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") data.push(value);
    else if (field === "event") name = value;
    else if (field === "id" && !value.includes("\0")) id = value;
    else if (field === "retry" && /^[0-9]+$/.test(value)) retry = value;
  };
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + piece).split("\n");
    rest = lines.pop();
    lines.forEach(take);
  }
}

for (;;) {
  const headers = { Accept: "text/event-stream", "Cache-Control": "no-cache" };
  if (lastId) headers["Last-Event-ID"] = lastId;
  try {
    const response = await fetch(url, { headers });
    if (response.status !== 200) {
      console.log(JSON.stringify(["closed", String(response.status), lastId]));
      break;
    }
    await read(response);
  } catch {
    // Cut off: it comes back.
  }
  await new Promise((resolve) => setTimeout(resolve, Number(retry)));
}

// What a client of @stomp/stompjs does in the tests: stomp.mjs runs it in Node, tests/integration/test_stomp.py in a page.

// With SockJS, url is that of SockJS, which carries no bytes.

export async function talk({ Client, Versions, SockJS, transport }, url, version) {
  const seen = {};
  const versions = new Versions([version]);
  const way = SockJS
    ? { webSocketFactory: () => new SockJS(url, null, { transports: [transport] }) }
    : { brokerURL: url };

  function connect(connectHeaders, more = {}) {
    return new Promise((resolve, reject) => {
      const client = new Client({
        ...way,
        connectHeaders,
        stompVersions: versions,
        reconnectDelay: 0,
        heartbeatIncoming: 10_000,
        heartbeatOutgoing: 10_000,
        ...more,
        onConnect: (frame) => resolve([client, frame]),
        onStompError: (frame) => reject(frame),
      });
      client.onWebSocketClose = (event) => client.ended?.(event);
      client.activate();
    });
  }

  // Resolves with the receipt of what is done.
  function receipt(client, act) {
    return new Promise((resolve) => {
      const id = `receipt-${Math.random()}`;
      client.watchForReceipt(id, resolve);
      act({ receipt: id });
    });
  }

  // A subscription whose messages are awaited one by one.
  async function subscribe(client, destination, headers = {}) {
    const waiting = [];
    const arrived = [];
    let subscription;
    await receipt(client, (more) => {
      subscription = client.subscribe(
        destination,
        (message) => (waiting.length ? waiting.shift()(message) : arrived.push(message)),
        { ...headers, ...more },
      );
    });
    const next = () =>
      new Promise((resolve) => (arrived.length ? resolve(arrived.shift()) : waiting.push(resolve)));
    return { next, arrived, id: subscription.id, end: (headers) => subscription.unsubscribe(headers) };
  }

  const json = { "content-type": "application/json" };

  try {
    await connect({ token: "wrong" });
  } catch (frame) {
    seen.refused = [frame.headers.message, JSON.parse(frame.body).code];
  }

  const [client, connected] = await connect({ Authorization: "Bearer right" });
  seen.connected = [connected.headers.version, connected.headers["heart-beat"], connected.headers["user-name"]];

  const news = await subscribe(client, "/topic/news:1");
  const own = await subscribe(client, "/user/queue/mail");
  const replies = await subscribe(client, "/user/queue/reply");

  await receipt(client, (more) =>
    client.publish({ destination: "/app/say", body: JSON.stringify({ text: "hé" }), headers: { ...json, ...more } }),
  );
  const said = await news.next();
  seen.said = [said.headers.destination, said.headers.event, said.headers.subscription === news.id, JSON.parse(said.body)];

  client.publish({ destination: "/app/say", body: "plain: text", headers: { "content-type": "text/plain" } });
  const text = await news.next();
  seen.text = [text.headers["content-type"], text.body];

  client.publish({ destination: "/app/mail me", body: "[1,2]", headers: { ...json, args: "2" } });
  const mail = await own.next();
  seen.mail = [mail.headers.destination, mail.headers.event, mail.headers.args, JSON.parse(mail.body)];

  client.publish({
    destination: "/app/reverse",
    ...(SockJS ? { body: "a\0\u2028" } : { binaryBody: new Uint8Array([1, 0, 255]) }),
    headers: { "content-type": SockJS ? "text/plain" : "application/octet-stream", "correlation-id": "c:1" },
  });
  const reply = await replies.next();
  const answer = SockJS ? reply.body : [...reply.binaryBody];
  seen.reply = [reply.headers["correlation-id"], reply.headers["content-type"], answer];

  client.publish({ destination: "/app/fail", headers: { "correlation-id": "c2" } });
  const failed = await replies.next();
  seen.failed = [failed.headers["correlation-id"], failed.headers.error, JSON.parse(failed.body).error.code];

  const rolledBack = client.begin();
  client.publish({ destination: "/app/say", body: '"never"', headers: { transaction: rolledBack.id } });
  rolledBack.abort();
  const transaction = client.begin();
  client.publish({ destination: "/app/say", body: '"one"', headers: { transaction: transaction.id } });
  client.publish({ destination: "/app/say", body: '"two"', headers: { transaction: transaction.id } });
  client.publish({ destination: "/app/say", body: '"zero"' });
  transaction.commit();
  seen.transaction = [(await news.next()).body, (await news.next()).body, (await news.next()).body];

  const questions = await subscribe(client, "/user/queue/sure?", { ack: "client-individual" });
  client.publish({ destination: "/app/ask me" });
  (await questions.next()).ack();
  seen.acked = JSON.parse((await own.next()).body);
  client.publish({ destination: "/app/ask me" });
  (await questions.next()).nack({ message: "no" });
  seen.nacked = JSON.parse((await own.next()).body);
  client.publish({ destination: "/app/ask me" });
  const question = await questions.next();
  client.publish({ destination: question.headers["reply-to"], body: JSON.stringify({ sure: 1 }) });
  seen.answered = JSON.parse((await own.next()).body);

  const once = await new Promise((resolve) => client.subscribe("/app/state", resolve));
  seen.once = [once.headers.destination, JSON.parse(once.body)];

  await receipt(client, (more) => news.end(more));
  await receipt(client, (more) => client.publish({ destination: "/app/say", body: '"gone"', headers: more }));
  seen.after = news.arrived.length;

  const [large] = await connect({ token: "right" }, { splitLargeFrames: true, maxWebSocketChunkSize: 1_000 });
  const answers = await subscribe(large, "/user/queue/reply");
  large.publish({ destination: "/app/count", body: "é".repeat(50_000), headers: { "content-type": "text/plain" } });
  seen.large = JSON.parse((await answers.next()).body);
  await large.deactivate();

  if (SockJS) {
    const [wrong] = await connect({ token: "right" });
    const told = new Promise((resolve) => (wrong.onStompError = resolve));
    const ended = new Promise((resolve) => (wrong.ended = resolve));
    wrong.publish({ destination: "/app/reverse", binaryBody: new Uint8Array([1, 0, 255]) });
    seen.bytes = [(await told).headers.message, (await ended).code];
  }

  const closed = new Promise((resolve) => (client.ended = resolve));
  let goodbye;
  client.onDisconnect = (frame) => (goodbye = frame.headers["receipt-id"] !== undefined);
  await client.deactivate();
  seen.closed = [(await closed).code, goodbye];
  return seen;
}

"""The chat example with several workers: who is here and what was said is the same wherever somebody arrives."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Any

import aiohttp
from playwright.async_api import expect

from tests.cli.test_reloader import children
from tests.support.browser import Pages
from tests.support.chat import SERVER_DOWN, Chat
from tests.support.cli import Running, running
from tests.support.js import JSClient, JSClients
from tests.support.preload import ROOT
from tests.support.served_program import url_of

COMMAND = ("run", "examples/chat/server.py:make_app()", "--port", "0", "--workers", "2")
NAMES = [f"Person {number}" for number in range(12)]
"""So many that both workers have some of them: new clients go to the one that has clearly fewer."""


async def enter(js: JSClients, url: str, name: str, **options: Any) -> tuple[JSClient, dict[str, Any]]:
    """Sign in, at one worker, and come in, maybe at another. What the client was told first."""
    async with aiohttp.ClientSession() as http, http.post(f"{url}/sign-in", json={"name": name}) as response:
        assert response.status == 200, await response.text()
        session = await response.json()
    client = await js.connect(url, auth={"token": session["token"]}, **options)
    return client, (await client.wait_for("welcome"))[0]


async def told_of(client: JSClient, event: str, room: str) -> dict[str, Any]:
    """Return what a client was told of a room, by the next event of that name."""
    while True:
        (told,) = await client.wait_for(event)
        if told["room"] == f"room:{room}":
            return dict(told)


async def until_there(client: JSClient, room: str, *, people: int = 0, messages: int = 0) -> list[str]:
    """Wait until a client that enters a room finds so many people and messages in it. Return the texts."""
    async with asyncio.timeout(15):
        while True:
            await client.emit_with_ack("join", room)
            entries = (await told_of(client, "history", room))["entries"]
            members = (await told_of(client, "presence", room))["members"]
            if len(members) >= people and len(entries) >= messages:
                return [each["args"][0]["text"] for each in entries]
            await asyncio.sleep(0.05)


async def replaced(command: Running, url: str, killed: int) -> None:
    """Wait until there are two workers again, which serve: session ids begin with the letter of theirs."""
    await command.see(f"worker {killed} has ended", on="err")
    letters: set[str] = set()
    async with asyncio.timeout(20):
        while len(letters) < 2:
            async with (
                aiohttp.ClientSession() as http,
                http.get(f"{url}/socket.io/?EIO=4&transport=polling") as response,
            ):
                letters.add(json.loads((await response.text())[1:])["sid"][0])


async def test_it_is_one_chat(js: JSClients) -> None:
    """People would be signed out, see a part of the others, and rooms would begin empty, by chance."""
    async with running(*COMMAND, cwd=ROOT) as command:
        url = await url_of(command)
        entered = [await enter(js, url, name, reconnection=True, reconnectionDelayMax=100) for name in NAMES]
        clients = [client for client, _ in entered]
        await until_there(clients[-1], "lobby", people=len(NAMES))
        for client in clients:
            await client.emit_with_ack("join", "engines")
        await until_there(clients[0], "engines", people=len(NAMES))
        for number, client in enumerate(clients):
            message = ("engines", f"from {number}", f"key of {number}")
            said = await client.emit_with_ack("message", *message)
            assert await client.emit_with_ack("message", *message) == said, "it is posted once"
        texts = [f"from {number}" for number in range(len(NAMES))]
        late, _ = await enter(js, url, "Late")
        assert await until_there(late, "engines", messages=len(NAMES)) == texts
        other = entered[-1][1]["id"]
        await clients[0].emit_with_ack("private", other, "psst", "a private key")
        assert (await clients[-1].wait_for("private"))[0]["text"] == "psst"
        for worker in children(command.process.pid):  # all that either of them knew
            os.kill(worker, signal.SIGKILL)
            await replaced(command, url, worker)
            newcomer, _ = await enter(js, url, f"After {worker}")
            assert await until_there(newcomer, "engines", messages=len(NAMES)) == texts
        assert await command.end() == 0


async def test_its_page(browser: Pages) -> None:
    """The page would show a part of the people, or its session be refused after a reload."""
    browser.expect_errors(SERVER_DOWN)
    async with running(*COMMAND, cwd=ROOT) as command:
        chat = Chat(await url_of(command), browser)
        people = [await chat.enter(name) for name in ("Ada", "Grace", "Linus")]
        for page in people:
            await expect(page.people).to_have_count(3)
        for page, text in zip(people, ("One", "Two", "Three"), strict=True):
            await page.say(text)
            for each in people:
                await expect(each.texts.last).to_have_text(text)
        await people[0].page.reload()
        await people[0].see_online()
        await expect(people[0].texts).to_have_text(["One", "Two", "Three"])
        await expect(people[0].people).to_have_count(3)
        if folder := os.environ.get("SCREENSHOTS"):
            await people[0].page.screenshot(path=f"{folder}/chat-workers.png")
        assert await command.end() == 0

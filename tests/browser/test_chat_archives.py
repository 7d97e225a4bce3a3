"""Archived dialogs on the chat page: found, opened, gone on with, changed, taken along."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import aiohttp
from playwright.async_api import BrowserContext, Page, expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import Console, Place, StartServer, sign_in
from tests.browser.engines import Engine


async def test_who_leaves_finds_the_dialog_archived_and_goes_on_in_one_step(
    context: BrowserContext, start_server: StartServer
) -> None:
    """The page says why it was archived; one click brings it back, as the same conversation."""
    server = await start_server(SESSION_RECONNECT_GRACE="200")
    await sign_in(context, server)
    view = await ChatPage.open(context, server)
    await view.say("Remember the milk")
    await view.page.goto("about:blank")
    await server.until_logged("dialog archived")
    await view.page.goto(server.url)
    await expect(view.notice).to_contain_text(re.compile(r"Your dialog was archived .*, because you left\."))
    await expect(view.entries).to_have_count(1)
    await expect(view.entries).to_contain_text("Remember the milk")
    await view.button("Go on with it").click()
    await expect(view.messages).to_have_text(["Remember the milk"] * 2)
    await expect(view.entries).to_have_count(0)
    await view.say("And the bread")
    assert await view.texts() == ["Remember the milk"] * 2 + ["And the bread"] * 2
    await server.until_logged("session message added to dialogue journal", 4)
    kept = server.logged("session message added to dialogue journal")
    assert len(kept) == 4
    assert len({line["conversation"] for line in kept}) == 1


async def test_archives_are_searched_and_the_match_is_shown(page: Page) -> None:
    """As one types: snippets with what matches marked; a click opens the dialog at that message."""
    view = ChatPage(page)
    await view.archive("Where do swallows spend the winter?", "And the storks?")
    await view.archive("A cake without eggs")
    await page.get_by_label("Search your archived dialogs").fill("STORKS")
    await expect(view.entries).to_have_count(2)
    await expect(view.entries.first.locator("mark")).to_have_text("storks")
    await expect(view.entries.first).to_contain_text("Where do swallows spend the winter?")
    await view.entries.first.click()
    await expect(page.locator("#archived .message.found .body")).to_have_text("And the storks?")
    await page.get_by_label("Search your archived dialogs").fill("penguins")
    await expect(page.get_by_role("heading", name="Nothing found for “penguins”")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(view.entries).to_have_count(2)


async def test_an_archive_is_opened_and_what_is_current_is_archived_when_one_goes_on_with_it(
    page: Page,
) -> None:
    """Nothing is lost: what was current can be opened from the notice."""
    view = ChatPage(page)
    await view.archive("The first dialog")
    await view.say("The second one")
    await view.open_entry("The first dialog")
    await expect(page.locator("#archived .message .body")).to_have_text(["The first dialog"] * 2)
    await expect(page.locator("#archive-bar")).to_contain_text("because it was ended. 2 messages.")
    await expect(view.box).to_be_hidden()
    await view.button("Back").click()
    await expect(view.messages).to_have_text(["The second one"] * 2)
    await view.open_entry("The first dialog")
    await view.button("Go on with it").click()
    await expect(view.messages).to_have_text(["The first dialog"] * 2)
    await expect(view.notice).to_contain_text("What you had here before is archived.")
    await view.button("Open it").click()
    await expect(page.locator("#archived .message .body")).to_have_text(["The second one"] * 2)


async def test_an_archive_is_renamed_pinned_and_deleted_in_all_tabs(
    context: BrowserContext, server: Place
) -> None:
    """Each change is seen at once, wherever the page is open."""
    view, other = await ChatPage.open_two(context, server)
    await view.archive("Plans for the garden")
    await view.archive("Something else")
    await view.page.bring_to_front()
    await view.open_entry("Plans for the garden")
    await view.button("Rename").click()
    await expect(view.page.get_by_role("dialog").get_by_label("Title")).to_have_value("Plans for the garden")
    await view.page.get_by_role("dialog").get_by_label("Title").fill("Garden 2027")
    await view.page.keyboard.press("Enter")
    await expect(view.title).to_have_text("Garden 2027")
    await expect(other.entries.filter(has_text="Garden 2027")).to_be_visible()
    await view.button("Pin").click()
    await expect(view.button("Unpin")).to_be_focused()
    await expect(other.entries.first).to_contain_text("Garden 2027")
    await expect(other.page.get_by_role("heading", name="Pinned")).to_be_visible()
    await view.button("Delete").click()
    await view.dialog_button("Cancel").click()
    await expect(view.title).to_have_text("Garden 2027")
    await view.button("Delete").click()
    await expect(view.page.get_by_role("dialog")).to_contain_text("“Garden 2027” will be gone for good.")
    await view.dialog_button("Delete").click()
    for each in (view, other):
        await expect(each.entries).to_have_count(1)
        await expect(each.entries).to_contain_text("Something else")
    await expect(view.title).to_have_text("New dialog")


async def test_a_list_has_no_heading_without_a_dialog_below(page: Page) -> None:
    """When all that there are is pinned."""
    view = ChatPage(page)
    await view.archive("The only one")
    await expect(page.get_by_role("heading", name="Earlier")).to_be_visible()
    await view.open_entry("The only one")
    await view.button("Pin").click()
    await expect(page.get_by_role("heading", name="Pinned")).to_be_visible()
    await expect(page.get_by_role("heading", name="Earlier")).to_have_count(0)


async def test_who_has_not_ended_a_dialog_is_not_told_so(
    context: BrowserContext, start_server: StartServer
) -> None:
    """An operator may have: the reason in the archive does not tell which of them it was."""
    server = await start_server()
    await sign_in(context, server)
    view = await ChatPage.open(context, server)
    await view.say("Do not stop me now")
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer admin-token"}) as http:
        path = f"{server.url}/ChatServerModule/endUserSession"
        async with http.post(path, json={"userId": "a1"}) as answer:
            assert answer.status == 200, await answer.text()
    await expect(view.notice).to_contain_text("because it was ended.")


async def test_where_deleting_is_turned_off_the_page_says_so(
    context: BrowserContext, start_server: StartServer, console: Console
) -> None:
    """And does not offer it any more."""
    console.expect("status of 403")
    server = await start_server(POTO_CHAT__ARCHIVES__DELETE="false")
    await sign_in(context, server)
    view = await ChatPage.open(context, server)
    await view.archive("Kept for good")
    await view.open_entry("Kept for good")
    await view.button("Delete").click()
    await view.dialog_button("Delete").click()
    await expect(view.notice).to_contain_text("You may not do this.")
    await expect(view.button("Delete")).to_have_count(0)
    await expect(view.entries).to_have_count(1)


async def test_all_archives_are_exported_in_each_format(page: Page, engine: Engine, tmp_path: Path) -> None:
    """As files that the browser keeps."""
    view = ChatPage(page)
    await view.archive("One to take along", "With two messages")
    await view.archive("Another one")
    saved = {}
    for name in ("JSON", "Markdown", "Zip of the files"):
        await view.button("Export all").click()
        await page.get_by_role("radio", name=name).check()
        saved[name] = await engine.download(view.dialog_button("Export"), tmp_path)
    assert [path.suffix for path in saved.values()] == [".json", ".md", ".zip"]
    exported = json.loads(saved["JSON"].read_text())
    assert [len(archive["messages"]) for archive in exported["archives"]] == [4, 2]
    assert "One to take along" in saved["Markdown"].read_text()
    assert len(zipfile.ZipFile(saved["Zip of the files"]).namelist()) == 2


async def test_one_archive_is_exported(page: Page, engine: Engine, tmp_path: Path) -> None:
    """By itself."""
    view = ChatPage(page)
    await view.archive("Just this one")
    await view.archive("Not this one")
    await view.open_entry("Just this one")
    await view.button("Export").click()
    exported = json.loads((await engine.download(view.dialog_button("Export"), tmp_path)).read_text())
    assert [archive["messages"][0]["content"] for archive in exported["archives"]] == ["Just this one"]


async def test_an_export_is_imported_elsewhere(
    page: Page, engine: Engine, context: BrowserContext, start_server: StartServer, tmp_path: Path
) -> None:
    """It comes back whole in an empty server, a second import adds nothing; lists of messages go, too."""
    view = ChatPage(page)
    await view.archive("One to take along", "With two messages")
    await view.archive("Another one")
    await view.button("Export all").click()
    saved = await engine.download(view.dialog_button("Export"), tmp_path)
    other = await start_server(folder=tmp_path / "other")
    await page.close()  # a login holds for all ports of a host
    await sign_in(context, other)
    there = await ChatPage.open(context, other)
    await there.page.locator("#import-file").set_input_files(saved)
    await expect(there.notice).to_contain_text("2 dialogs imported.")
    await expect(there.entries).to_have_count(2)
    await there.page.locator("#import-file").set_input_files(saved)
    await expect(there.notice).to_contain_text("Nothing new. 2 dialogs were here already.")
    await there.open_entry("One to take along")
    await expect(there.page.locator("#archived .message")).to_have_count(4)
    messages = [{"role": "user", "content": "From elsewhere"}, {"role": "assistant", "content": "Welcome"}]
    (tmp_path / "list.json").write_text(json.dumps(messages))
    await there.page.locator("#import-file").set_input_files(tmp_path / "list.json")
    await expect(there.entries.filter(has_text="From elsewhere")).to_be_visible()
    await expect(there.notice).to_have_text("1 dialog imported.")
    (tmp_path / "bad.json").write_text("no JSON")
    await there.page.locator("#import-file").set_input_files(tmp_path / "bad.json")
    await expect(there.notice).to_have_text("bad.json is not JSON.")
    (tmp_path / "bad.json").write_text('{"dialogs": []}')
    await there.page.locator("#import-file").set_input_files(tmp_path / "bad.json")
    await expect(there.notice).to_have_text("bad.json holds neither archives nor a list of messages.")


def importable(number: int, *contents: str, role: str = "user") -> dict[str, Any]:
    """An archive as an export has it."""
    stamp = "2024-01-15T10:30:00.000Z"
    messages = [
        {"id": f"m-{number}-{each}", "role": role, "content": content, "timestamp": stamp}
        for each, content in enumerate(contents)
    ]
    about = {"conversationId": f"sse-{number}", "startedAt": stamp, "endedAt": stamp, "reason": "request"}
    return about | {"title": f"Number {number}", "messages": messages}


async def test_a_corrupt_import_adds_nothing_and_says_where(
    page: Page, console: Console, tmp_path: Path
) -> None:
    """However large the whole part is that stands before the fault."""
    console.expect("422")
    view = ChatPage(page)
    await view.until_connected()  # until then nobody listens to the field for files
    archives = [importable(0, "x" * 5_000_000), importable(1, "Hello", role="robot")]
    (tmp_path / "bad.json").write_text(json.dumps({"potoserver": 1, "archives": archives}))
    await page.locator("#import-file").set_input_files(tmp_path / "bad.json")
    await expect(view.notice).to_have_text(
        "The arguments are not valid. archives.1.messages.0.role: must be 'user' or 'assistant'."
    )
    await expect(view.entries).to_have_count(0)


async def test_a_fault_behind_what_one_call_takes_is_told_by_its_place_in_the_file(
    page: Page, console: Console, tmp_path: Path
) -> None:
    """With what was added before it."""
    console.expect("422")
    view = ChatPage(page)
    await view.until_connected()  # until then nobody listens to the field for files
    archives = [importable(number, *["Hello"] * 10_000) for number in range(2)]
    archives.append(importable(2, "Hello", role="robot"))
    (tmp_path / "bad.json").write_text(json.dumps({"potoserver": 1, "archives": archives}))
    await page.locator("#import-file").set_input_files(tmp_path / "bad.json")
    await expect(view.notice).to_have_text(
        "The arguments are not valid. Of the 2 dialogs before: 2 dialogs imported. "
        "archives.2.messages.0.role: must be 'user' or 'assistant'.",
        timeout=60_000,
    )
    await expect(view.entries).to_have_count(2)

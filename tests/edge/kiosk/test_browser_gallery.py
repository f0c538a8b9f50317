"""Every screen fits 800 × 480 in both languages; pictures of all of them are kept."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from edge.kiosk.app import create_kiosk
from edge.kiosk.server import KioskServer
from tests.edge.kiosk.gallery import SCREENS
from tests.edge.kiosk.scripted import ScriptedStation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]
ARTIFACTS = Path(__file__).parents[3] / "artifacts" / "kiosk"

FAULTS = Path(__file__).with_name("faults.js").read_text()
"""What a person would call broken: beyond the screen, cut, overlapping, too small to touch, no picture."""


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def kiosk() -> AsyncIterator[tuple[ScriptedStation, str]]:
    station = ScriptedStation()
    server = KioskServer(create_kiosk(station))
    serving = asyncio.create_task(server.run())
    yield station, server.url
    server.stop()
    await serving


async def show(page: Page, station: ScriptedStation, url: str, slug: str, language: str) -> None:
    """Load the page fresh on this screen, and wait until script and pictures have done their part."""
    station.show(SCREENS[slug])
    await page.context.add_cookies([{"name": "reloop_language", "value": language, "url": url}])
    await page.goto(url)
    await page.wait_for_selector(f'#kiosk[data-name="{SCREENS[slug].name}"][data-language="{language}"]')
    await page.evaluate("document.fonts.ready")
    if SCREENS[slug].weight is not None:
        await page.wait_for_selector("#announcer:not(:empty)", state="attached")


async def test_nepali_is_drawn_with_the_systems_devanagari_font(
    page: Page, kiosk: tuple[ScriptedStation, str]
) -> None:
    station, url = kiosk
    await show(page, station, url, "idle", "ne")
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("DOM.enable")
    await devtools.send("CSS.enable")
    root = (await devtools.send("DOM.getDocument"))["root"]["nodeId"]
    node = await devtools.send("DOM.querySelector", {"nodeId": root, "selector": "h1"})
    fonts = (await devtools.send("CSS.getPlatformFontsForNode", node))["fonts"]
    assert {font["familyName"] for font in fonts} == {"Noto Sans Devanagari"}


@pytest.mark.parametrize("language", ["ne", "en"])
@pytest.mark.parametrize("slug", SCREENS)
async def test_every_screen_fits_and_nothing_is_cut(
    page: Page, kiosk: tuple[ScriptedStation, str], slug: str, language: str
) -> None:
    station, url = kiosk
    await show(page, station, url, slug, language)
    folder = ARTIFACTS / language
    folder.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=folder / f"{slug}.png", animations="disabled")
    assert await page.evaluate(FAULTS) == []

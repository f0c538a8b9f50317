"""One Chromium for all browser tests of the kiosk: the machine is small, and so is the real one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from playwright.async_api import async_playwright

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import BrowserContext, Page

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BrowserContext]:
    """A real browser at the size of the kiosk's screen, without a network to go to."""
    if not CHROMIUM.exists():
        pytest.skip("needs Debian's chromium: apt-get install chromium fonts-noto-core")
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("chromium"),
            executable_path=CHROMIUM,
            args=ARGUMENTS,
            headless=True,
            viewport={"width": 800, "height": 480},
        )
        yield context
        await context.close()


@pytest_asyncio.fixture(loop_scope="package")
async def page(browser: BrowserContext) -> AsyncIterator[Page]:
    """A fresh tab with no cookies; any script error or refused resource fails the test."""
    await browser.clear_cookies()
    page = await browser.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    yield page
    await page.close()
    unexpected = [
        text for text in complaints if "Failed to load resource" not in text and "net::ERR" not in text
    ]
    assert unexpected == []

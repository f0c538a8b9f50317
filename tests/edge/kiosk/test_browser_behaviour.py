"""What the page does by itself, in a real browser: freshness, lost contact, taps, languages, number pad."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from edge.kiosk.app import create_kiosk
from edge.kiosk.server import KioskServer
from edge.station.screen import Button, Message, Name
from tests.edge.kiosk.gallery import SCREENS, TILES, bin_screen, choose, idle, saved, weigh, weight
from tests.edge.kiosk.scripted import ScriptedStation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]
ARTIFACTS = Path(__file__).parents[3] / "artifacts" / "kiosk"
DEADLINE_S = 6.0
GREY = '[data-scale][data-state="no_fresh"]'


class Site:
    """A scripted station and the page that shows it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.station = ScriptedStation(idle())
        self.server = KioskServer(create_kiosk(self.station))
        self._serving = asyncio.create_task(self.server.run())

    async def open(self, name: Name = Name.IDLE) -> None:
        await self.page.goto(self.server.url)
        await self.see(f'#kiosk[data-name="{name}"]')
        await self.until(lambda: self.station.subscribers == 1)

    async def stop(self) -> None:
        self.server.stop()
        await self._serving

    async def restart(self) -> None:
        self.server = KioskServer(create_kiosk(self.station), port=self.server.port)
        self._serving = asyncio.create_task(self.server.run())

    async def see(self, selector: str) -> None:
        await self.page.wait_for_selector(selector, timeout=DEADLINE_S * 1000)

    async def until(self, condition: object) -> None:
        assert callable(condition)
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await asyncio.sleep(0.01)

    async def picture(self, slug: str, language: str = "ne") -> None:
        folder = ARTIFACTS / language
        folder.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=folder / f"{slug}.png", animations="disabled")

    async def feed(self) -> None:
        """Keep the weight fresh, as a living station does."""
        while True:
            self.station.change(weight=weight())
            await asyncio.sleep(0.2)


@pytest_asyncio.fixture(loop_scope="package")
async def site(page: Page) -> AsyncIterator[Site]:
    running = Site(page)
    yield running
    await running.stop()


async def test_a_weight_is_painted_as_it_comes_and_the_stable_mark_with_it(site: Site) -> None:
    site.station.show(weigh(weight=weight(0), buttons=(Button.CANCEL,)))
    await site.open(Name.WEIGH)
    await site.see('[data-state="ready"]')
    site.station.show(weigh(weight=weight(640, stable=False), buttons=(Button.CANCEL,)))
    await site.see('[data-state="moving"]')
    assert await site.page.inner_text("[data-figure]") == "०.६४०"
    assert await site.page.is_disabled('[data-button="confirm"]')
    site.station.show(weigh(weight=weight(1235)))
    await site.see('[data-state="stable"]')
    assert await site.page.inner_text("[data-gain]") == "३० अंक"
    assert await site.page.is_enabled('[data-button="confirm"]')
    assert "तौल स्थिर भयो" in await site.page.inner_text("#announcer")


async def test_a_weight_that_is_two_seconds_old_is_greyed_though_the_agent_lives(site: Site) -> None:
    site.station.show(weigh())
    await site.open(Name.WEIGH)
    loop = asyncio.get_running_loop()
    site.station.show(weigh())
    shown_s = loop.time()
    await site.see('[data-state="stable"]')
    await site.see(GREY)
    assert 1.5 < loop.time() - shown_s < 3.0
    assert await site.page.is_disabled('[data-button="confirm"]')
    assert await site.page.inner_text("[data-hint]") == "ताजा तौल आएको छैन"
    assert await site.page.is_hidden("#lost")
    await site.picture("page-greyed")


async def test_a_weight_that_keeps_coming_is_not_greyed(site: Site) -> None:
    site.station.show(weigh())
    await site.open(Name.WEIGH)
    feeding = asyncio.create_task(site.feed())
    try:
        await site.see('[data-state="stable"]')
        with pytest.raises(Exception, match="Timeout"):
            await site.page.wait_for_selector(GREY, timeout=3000)
    finally:
        feeding.cancel()


async def test_a_dead_agent_is_told_and_its_weight_greyed_and_both_heal(site: Site) -> None:
    site.station.show(weigh())
    await site.open(Name.WEIGH)
    await site.see('[data-state="stable"]')
    await site.stop()
    await site.see(GREY)
    await site.see("#lost:not([hidden])")
    await site.picture("contact-lost")
    site.station.show(weigh())
    await site.restart()
    await site.page.wait_for_selector("#lost", state="hidden", timeout=DEADLINE_S * 1000)
    site.station.show(choose())
    await site.see('#kiosk[data-name="choose"]')


async def test_two_quick_taps_press_once_and_never_what_appears_under_the_finger(site: Site) -> None:
    site.station.show(weigh())
    site.station.on_press = lambda button, value: site.station.show(saved())
    await site.open(Name.WEIGH)
    box = await site.page.locator('[data-button="confirm"]').bounding_box()
    assert box is not None
    for _ in range(6):
        await site.page.mouse.click(box["x"] + box["width"] - 30, box["y"] + 30)
    await site.see('#kiosk[data-name="saved"]')
    assert site.station.presses == [(Button.CONFIRM, None)]


async def test_while_a_commit_runs_everything_waits_and_nothing_flickers(site: Site) -> None:
    site.station.show(weigh())
    await site.open(Name.WEIGH)
    await site.see('[data-button="confirm"]:enabled')
    site.station.change(busy=True, buttons=())
    await site.see(".is-busy")
    for button in ("confirm", "material", "cancel"):
        assert await site.page.is_visible(f'[data-button="{button}"]')
        assert await site.page.is_disabled(f'[data-button="{button}"]')
    site.station.show(saved())
    await site.see('#kiosk[data-name="saved"]:not(.is-busy) [data-button="finish"]:enabled')


async def test_no_press_is_lost_once_a_new_screen_has_stood_for_a_moment(site: Site) -> None:
    site.station.on_press = lambda button, value: site.station.show(SCREENS["choose-guest"])
    await site.open()
    await site.page.click('[data-button="guest"]')
    await site.see(".claim")
    await site.page.wait_for_timeout(400)
    await site.page.click('.tile[data-value="GLS"]')
    await site.until(lambda: (Button.MATERIAL, "GLS") in site.station.presses)


async def test_a_refused_press_says_so_and_the_next_one_works(site: Site) -> None:
    site.station.show(choose(tiles=(*TILES[:2], SCREENS["choose"].tiles[2])))
    await site.open(Name.CHOOSE)
    await site.page.eval_on_selector(".tile", "e => { e.dataset.value = 'refuse'; }")
    await site.page.click(".tile")
    await site.see('.message >> text="भएन। फेरि प्रयास गर्नुहोस्।"')
    await site.page.click('.tile[data-value="CAN"]')
    await site.until(lambda: (Button.MATERIAL, "CAN") in site.station.presses)


async def test_the_language_is_one_tap_on_every_screen_and_leaves_with_the_visitor(site: Site) -> None:
    site.station.show(weigh())
    await site.open(Name.WEIGH)
    await site.page.click('[data-choose-language="en"]')
    await site.see('#kiosk[data-language="en"]')
    assert await site.page.get_attribute("html", "lang") == "en"
    assert await site.page.inner_text('[data-button="confirm"]') == "Save"
    site.station.show(idle())
    await site.see('#kiosk[data-name="idle"][data-language="ne"]')


async def test_nothing_is_reloaded_during_a_whole_visit(site: Site) -> None:
    await site.open()
    await site.page.evaluate("() => { globalThis.untouched = true; }")
    for slug in ("choose", "weigh-stable", "saved", "receipt", "idle"):
        site.station.show(SCREENS[slug])
        await site.see(f'#kiosk[data-name="{SCREENS[slug].name}"]')
    assert await site.page.evaluate("() => globalThis.untouched") is True


async def test_an_estimate_is_typed_in_kilograms_and_sent_in_grams(site: Site) -> None:
    site.station.show(bin_screen())
    await site.open(Name.BIN)
    await site.page.click('[data-open-pad="bin_estimate"]')
    assert await site.page.is_disabled("[data-pad-save]")
    for key in ("0", "3", "7", ".", ".", "2", "5", "8", "1", "erase"):
        await site.page.click(f'[data-key="{key}"]')
    assert await site.page.inner_text("[data-pad-figure]") == "३७.२५"
    await site.picture("bin-estimate")
    await site.page.click("[data-pad-save]")
    await site.until(lambda: site.station.presses == [(Button.BIN_ESTIMATE, "37250")])


async def test_the_pad_closes_without_a_press_and_forgets(site: Site) -> None:
    site.station.show(bin_screen())
    await site.open(Name.BIN)
    await site.page.click('[data-open-pad="bin_estimate"]')
    await site.page.click('[data-key="9"]')
    await site.page.click("[data-pad-close]")
    assert await site.page.is_hidden("[data-pad]")
    await site.page.click('[data-open-pad="bin_estimate"]')
    assert await site.page.inner_text("[data-pad-figure]") == "०"
    assert site.station.presses == []


async def test_a_preset_container_is_sent_in_grams_and_taken_away_with_zero(site: Site) -> None:
    site.station.show(weigh(weight=weight(tare_g=150)))
    await site.open(Name.WEIGH)
    async with site.page.expect_response("**/api/press"):
        await site.page.click('[data-button="preset_tare"][data-value="300"]')
    await site.page.click('[data-button="preset_tare"][data-value="0"]')
    await site.until(lambda: site.station.presses == [(Button.PRESET_TARE, "300"), (Button.PRESET_TARE, "0")])


async def test_more_than_eight_materials_turn_pages(site: Site) -> None:
    site.station.show(SCREENS["choose-more"])
    await site.open(Name.CHOOSE)
    assert await site.page.locator(".tile:visible").count() == 8
    await site.page.click("[data-next-tiles]")
    assert await site.page.locator(".tile:visible").count() == 6
    await site.picture("choose-second-page")
    await site.page.click("[data-next-tiles]")
    assert await site.page.is_visible('.tile[data-value="PET"]')


async def test_focus_stays_where_it_was_when_a_message_appears(site: Site) -> None:
    site.station.show(choose())
    await site.open(Name.CHOOSE)
    await site.page.focus('.tile[data-value="GLS"]')
    site.station.change(message=Message.CARD_NOT_ALLOWED)
    await site.see(".message[role=alert]")
    assert await site.page.evaluate("() => document.activeElement.dataset.value") == "GLS"


async def test_the_keyboard_alone_is_enough(site: Site) -> None:
    await site.open()
    await site.page.focus('[data-button="guest"]')
    await site.page.keyboard.press("Enter")
    await site.until(lambda: site.station.presses == [(Button.GUEST, None)])

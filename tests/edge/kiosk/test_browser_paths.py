"""A person's ways through the kiosk, end to end: Chromium, the real agent, a real journal, scale and scanner.

Only the plate, the codes held before the scanner and the plugs are simulated; there is no cloud at all.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from protocol.cards import Role
from tests.edge.kiosk.drop_point import DropPoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]
ARTIFACTS = Path(__file__).parents[3] / "artifacts" / "kiosk" / "paths"
DEADLINE_MS = 15_000
GHOST_MS = 400
FAULTS = Path(__file__).with_name("faults.js").read_text()
DIVISION_G = 5
LATIN = str.maketrans("०१२३४५६७८९", "0123456789")


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DropPoint]:
    async with DropPoint(tmp_path_factory.mktemp("drop-point")) as site:
        await site.claim()
        await site.start()
        await site.answers()
        yield site


def grams(text: str) -> int:
    """The mass in a text such as `PET bottles · 1.235 kg`."""
    found = re.search(r"(\d+)\.(\d{3}) ", text)
    assert found is not None
    return int(found[1]) * 1000 + int(found[2])


class Person:
    """Somebody in front of the kiosk: looks, presses, puts things on the plate, shows cards."""

    def __init__(self, page: Page, site: DropPoint) -> None:
        self.page = page
        self.site = site

    async def arrive(self) -> None:
        """Come to an idle kiosk with an empty plate; whoever stood here before is sent away."""
        self.site.scale.clear()
        await self.page.goto(self.site.url)
        for button in ("cancel", "cancel", "done"):
            await self.page.request.post(f"{self.site.url}/api/press", data={"button": button})
        await self.see('#kiosk[data-name="idle"] [data-button="guest"]')

    async def see(self, selector: str) -> None:
        await self.page.wait_for_selector(selector, timeout=DEADLINE_MS)

    async def on(self, name: str) -> None:
        await self.see(f'#kiosk[data-name="{name}"]')

    async def press(self, button: str, value: str | None = None) -> None:
        """Press as people do: not within the blink after a screen has changed, which the page ignores."""
        what = f'[data-button="{button}"]' + (f'[data-value="{value}"]' if value else "")
        await self.see(f"{what}:enabled")
        await self.page.wait_for_timeout(GHOST_MS)
        await self.page.click(what, timeout=DEADLINE_MS)

    async def read(self, selector: str) -> str:
        return (await self.page.inner_text(selector)).translate(LATIN)

    async def steady(self) -> None:
        await self.see('[data-scale][data-state="stable"]')

    async def choose(self, material: str) -> None:
        await self.on("choose")
        await self.press("material", material)
        await self.on("weigh")

    async def weigh(self, mass_g: int) -> int:
        """Put so much on the plate and save it; return the net grams that the kiosk says it saved.

        A simulated scale creeps and trembles like a real one, so it may be off by two divisions.
        """
        await self.see('[data-scale][data-state="ready"]')
        self.site.scale.place(mass_g)
        await self.steady()
        await self.press("confirm")
        await self.on("saved")
        net_g = grams(await self.read(".saved-line"))
        assert abs(net_g - mass_g) <= 2 * DIVISION_G
        return net_g

    async def picture(self, name: str) -> None:
        """Keep what is seen, and let nothing be cut or overlap with real content either."""
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=ARTIFACTS / f"{name}.png", animations="disabled")
        assert await self.page.evaluate(FAULTS) == []


@pytest_asyncio.fixture(loop_scope="package")
async def person(page: Page, site: DropPoint) -> Person:
    return Person(page, site)


async def weighings(site: DropPoint) -> list[dict[str, Any]]:
    return await site.records("weighing.recorded")


async def test_an_unclaimed_kiosk_becomes_a_claimed_one_without_a_reload(page: Page, tmp_path: Path) -> None:
    async with DropPoint(tmp_path) as site:
        await site.start()
        await site.answers()
        person = Person(page, site)
        await page.goto(site.url)
        await person.on("unclaimed")
        assert "reloop-edge claim" in await page.inner_text("main")
        await page.evaluate("() => { globalThis.untouched = true; }")
        await site.claim()
        await person.see('#kiosk[data-name="idle"] [data-button="guest"]')
        assert await page.evaluate("() => globalThis.untouched") is True


async def test_a_member_weighs_and_what_was_shown_is_what_was_journalled(
    person: Person, site: DropPoint
) -> None:
    before = len(await weighings(site))
    await person.arrive()
    site.scanner.scan(site.cloud.card("Asha"))
    await person.on("choose")
    assert "Asha" in await person.read("h1")
    await person.picture("member-1-choose")
    await person.choose("PET")
    await person.picture("member-2-weigh")
    net_g = await person.weigh(1235)
    points = net_g * 25 // 1000
    assert await person.read(".saved-gain") == f"+{points} अंक"
    await person.picture("member-3-saved")
    await person.press("finish")
    await person.on("receipt")
    assert await person.page.locator(".receipt-qr svg path").count() == 2
    assert "पेट बोतल" in await person.read(".receipt-lines")
    await person.picture("member-4-receipt")
    await person.press("done")
    await person.on("idle")
    recorded = (await weighings(site))[before:]
    assert [(one["material"], one["net_g"], one["points"]) for one in recorded] == [("PET", net_g, points)]


async def test_a_second_bag_on_the_first_is_not_counted_twice_and_the_last_can_be_taken_back(
    person: Person, site: DropPoint
) -> None:
    before = len(await weighings(site))
    await person.arrive()
    site.scanner.scan(site.cloud.card("Maya"))
    await person.choose("PET")
    first_g = await person.weigh(1000)
    await person.press("material")
    await person.choose("CAN")
    await person.see(
        '[data-scale]:is([data-state="not_armed_more"], [data-state="ready"], [data-state="light"])'
    )
    assert await person.page.is_disabled('[data-button="confirm"]')
    await person.picture("second-1-waits")
    site.scale.clear()
    second_g = await person.weigh(500)
    await person.press("void")
    await person.see(".message-voided")
    await person.picture("second-2-voided")
    await person.press("finish")
    await person.on("receipt")
    assert await person.read(".receipt-points") == f"{first_g * 25 // 1000} अंक"
    await person.press("done")
    await person.on("idle")
    assert [one["net_g"] for one in (await weighings(site))[before:]] == [first_g, second_g]
    assert len(await site.records("weighing.voided")) == 1


async def test_a_guest_has_the_code_before_anything_is_saved_and_only_its_hash_is_kept(
    person: Person, site: DropPoint
) -> None:
    await person.arrive()
    await person.page.click('[data-choose-language="en"]')
    await person.see('#kiosk[data-language="en"]')
    await person.press("guest")
    await person.on("choose")
    code = await person.read(".claim b")
    assert re.fullmatch(r"[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]", code)
    await person.picture("guest-1-choose")
    await person.choose("FER")
    net_g = await person.weigh(2500)
    assert await person.read(".saved-gain") == f"+{net_g * 35 // 1000} points"
    assert await person.read(".claim b") == code
    await person.press("finish")
    await person.on("receipt")
    assert await person.read(".claim b") == code
    await person.picture("guest-2-receipt")
    await person.press("done")
    await person.see('#kiosk[data-name="idle"][data-language="ne"]')
    kept = site.journal_bytes()
    assert code.encode() not in kept
    assert code.replace("-", "").encode() not in kept


async def test_a_visit_that_is_cancelled_saves_nothing(person: Person, site: DropPoint) -> None:
    before = len(await weighings(site))
    await person.arrive()
    await person.press("guest")
    await person.choose("GLS")
    await person.see('[data-scale][data-state="ready"]')
    site.scale.place(3000)
    await person.steady()
    await person.press("cancel")
    await person.on("idle")
    await person.picture("cancelled")
    assert len(await weighings(site)) == before


async def test_a_container_is_taken_off(person: Person, site: DropPoint) -> None:
    before = len(await weighings(site))
    await person.arrive()
    await person.press("guest")
    await person.choose("PAP")
    await person.see('[data-scale][data-state="ready"]')
    await person.press("preset_tare", "300")
    await person.see('[data-button="preset_tare"][data-value="0"]')
    site.scale.place(2300)
    await person.steady()
    await person.picture("container")
    await person.press("confirm")
    await person.on("saved")
    net_g = grams(await person.read(".saved-line"))
    assert abs(net_g - 2000) <= 2 * DIVISION_G
    await person.press("finish")
    await person.press("done")
    await person.on("idle")
    recorded = (await weighings(site))[before:]
    assert [(one["gross_g"], one["tare_g"], one["net_g"]) for one in recorded] == [(net_g + 300, 300, net_g)]


async def test_a_collector_weighs_one_bin_estimates_another_and_hands_over(
    person: Person, site: DropPoint
) -> None:
    await person.arrive()
    collector = site.cloud.card("Bikash", Role.COLLECTOR)
    site.scanner.scan(collector)
    await person.on("collect")
    await person.picture("collector-1-first")
    site.scanner.scan("RLB1:KTM-014-PET")
    await person.on("bin")
    await person.see('[data-scale][data-state="ready"]')
    site.scale.place(18_500)
    await person.steady()
    await person.picture("collector-2-bin")
    await person.press("bin_weigh")
    await person.on("collect")
    site.scale.clear()
    site.scanner.scan("RLB1:KTM-014-GLASS")
    await person.on("bin")
    await person.page.wait_for_timeout(GHOST_MS)
    await person.page.click('[data-open-pad="bin_estimate"]')
    for key in "40":
        await person.page.click(f'[data-key="{key}"]')
    await person.picture("collector-3-estimate")
    await person.page.click("[data-pad-save]")
    await person.on("collect")
    weighed_g = (await site.records("bin.weighed"))[-1]["net_g"]
    assert abs(weighed_g - 18_500) <= 2 * DIVISION_G
    assert grams(await person.read(".sum b")) == weighed_g + 40_000
    await person.picture("collector-4-list")
    await person.press("handover")
    await person.on("handover")
    site.scanner.scan(collector)
    await person.see(".message-card_same")
    await person.picture("collector-5-same-card")
    site.scanner.scan(site.cloud.card("Sunita", Role.STEWARD))
    await person.on("handed_over")
    await person.picture("collector-6-handed-over")
    await person.press("done")
    await person.on("idle")
    handed = await site.records("custody.handed_over")
    assert len(handed) == 1
    assert [one["bin"] for one in await site.records("bin.weighed")] == ["KTM-014-PET"]
    assert [one["bin"] for one in await site.records("bin.estimated")] == ["KTM-014-GLASS"]


async def test_an_unplugged_scale_is_told_is_never_a_weight_and_heals(
    person: Person, site: DropPoint
) -> None:
    await person.arrive()
    await person.press("guest")
    await person.choose("CRD")
    await person.see('[data-scale][data-state="ready"]')
    site.scale.place(4000)
    await person.steady()
    site.scale.fault("unplug", on=True)
    await person.see('[data-scale]:is([data-state="absent"], [data-state="no_fresh"])')
    assert await person.page.is_disabled('[data-button="confirm"]')
    await person.see('[data-scale][data-state="absent"]')
    await person.see(".notice-scale_absent")
    assert await person.read("[data-figure]") == "–.–––"
    await person.picture("fault-1-unplugged")
    site.scale.fault("unplug", on=False)
    site.scale.clear()
    await person.weigh(4000)
    await person.press("finish")
    await person.press("done")
    await person.on("idle")


@pytest.mark.parametrize(
    ("fault", "states"),
    [("freeze_port", ["no_fresh"]), ("overload", ["overload"]), ("wrong_baud", ["no_fresh", "fault"])],
)
async def test_a_scale_in_trouble_can_save_nothing(
    person: Person, site: DropPoint, fault: str, states: list[str]
) -> None:
    await person.arrive()
    await person.press("guest")
    await person.choose("GLS")
    await person.see('[data-scale][data-state="ready"]')
    site.scale.place(1500)
    await person.steady()
    site.scale.fault(fault, on=True)
    try:
        await person.see(",".join(f'[data-scale][data-state="{state}"]' for state in states))
        assert await person.page.is_disabled('[data-button="confirm"]')
        await person.picture(f"fault-2-{fault}")
    finally:
        site.scale.fault(fault, on=False)
    await person.steady()
    await person.press("cancel")
    await person.on("idle")


async def test_a_steward_types_the_weight_while_the_scale_is_unplugged(
    person: Person, site: DropPoint
) -> None:
    before = len(await site.records("manual.entered"))
    await person.arrive()
    await person.press("guest")
    await person.choose("CAN")
    site.scale.fault("unplug", on=True)
    try:
        await person.see('[data-scale][data-state="absent"]')
        site.scanner.scan(site.cloud.card("Sunita", Role.STEWARD))
        await person.see('[data-open-pad="manual"]')
        await person.picture("steward-1-offered")
        await person.page.wait_for_timeout(GHOST_MS)
        await person.page.click('[data-open-pad="manual"]')
        for key in "7.5":
            await person.page.click(f'[data-key="{key}"]')
        await person.picture("steward-2-typed")
        await person.page.click("[data-pad-save]")
        await person.on("saved")
        assert grams(await person.read(".saved-line")) == 7500
        await person.press("finish")
        await person.press("done")
        await person.on("idle")
    finally:
        site.scale.fault("unplug", on=False)
    assert len(await site.records("manual.entered")) == before + 1


async def test_a_card_of_another_cloud_is_refused_in_words(person: Person, site: DropPoint) -> None:
    await person.arrive()
    stranger = type(site.cloud)().card("Mallory")
    site.scanner.scan(stranger)
    await person.see('#kiosk[data-name="idle"] .message-card_forged')
    await person.picture("forged-card")


async def test_a_power_cut_after_saving_shows_the_receipt_again_and_counts_once(
    person: Person, site: DropPoint
) -> None:
    before = len(await weighings(site))
    await person.arrive()
    site.scanner.scan(site.cloud.card("Asha"))
    await person.choose("PET")
    net_g = await person.weigh(1600)
    await site.kill()
    await person.see("#lost:not([hidden])")
    await person.picture("power-1-lost")
    await site.start()
    await site.answers()
    await person.on("receipt")
    await person.see(".message-interrupted")
    assert await person.read(".receipt-points") == f"{net_g * 25 // 1000} अंक"
    await person.picture("power-2-receipt-again")
    await person.press("done")
    await person.on("idle")
    assert [one["net_g"] for one in (await weighings(site))[before:]] == [net_g]


async def test_the_agent_stops_cleanly_while_a_page_is_open(person: Person, site: DropPoint) -> None:
    await person.arrive()
    started_s = asyncio.get_running_loop().time()
    await site.stop()
    assert asyncio.get_running_loop().time() - started_s < 5
    assert "Traceback" not in site.log()
    await site.start()
    await site.answers()

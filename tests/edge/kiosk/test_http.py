"""The kiosk over real HTTP: what it answers, whom it refuses, and how its stream behaves."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
import pytest_asyncio
from starlette.datastructures import Headers

from edge.kiosk.app import create_kiosk
from edge.kiosk.errors import PortTakenError
from edge.kiosk.events import VIEWERS_MAX
from edge.kiosk.guard import judge
from edge.kiosk.server import KioskServer
from edge.station.screen import Button, Message, Name, Notice, Screen
from tests.edge.kiosk.gallery import GUEST_RECEIPT, SCREENS, idle, receipt, weigh, weight
from tests.edge.kiosk.scripted import ScriptedStation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEADLINE_S = 5.0


class Site:
    """A served kiosk, its scripted station, and a client that is no browser."""

    def __init__(self, viewers_max: int = VIEWERS_MAX) -> None:
        self.station = ScriptedStation(idle())
        self.server = KioskServer(create_kiosk(self.station, viewers_max=viewers_max))
        self.client = httpx.AsyncClient(base_url=self.server.url, timeout=DEADLINE_S)

    async def __aenter__(self) -> Site:
        self._serving = asyncio.create_task(self.server.run())
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.client.aclose()
        self.server.stop()
        await asyncio.wait_for(self._serving, DEADLINE_S)

    async def press(self, **body: Any) -> httpx.Response:
        return await self.client.post("/api/press", json=body)


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as running:
        yield running


@asynccontextmanager
async def events(site: Site) -> AsyncIterator[AsyncIterator[tuple[str, str, str]]]:
    """The stream as (event, id, data), parsed as the standard says."""
    async with site.client.stream("GET", "/api/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield _parse(answer)


async def _parse(answer: httpx.Response) -> AsyncIterator[tuple[str, str, str]]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield fields.get("event", "message"), fields.get("id", ""), fields["data"]
            fields = {}


async def next_screen(stream: AsyncIterator[tuple[str, str, str]]) -> Screen:
    async with asyncio.timeout(DEADLINE_S):
        async for event, number, data in stream:
            if event == "message":
                screen = msgspec.json.decode(data, type=Screen)
                assert number == str(screen.version)
                return screen
    raise AssertionError("the stream ended")


async def until(condition: Any) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.01)


def code_of(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["message"]
    return answer.status_code, problem["code"]


async def test_the_screen_as_json_is_the_stations_screen(site: Site) -> None:
    answer = await site.client.get("/api/screen")
    assert msgspec.json.decode(answer.content, type=Screen) == site.station.screen


async def test_the_page_arrives_with_the_present_screen_in_it(site: Site) -> None:
    site.station.show(SCREENS["choose"])
    page = (await site.client.get("/")).text
    assert 'data-name="choose"' in page
    assert "नमस्ते, Asha!" in page
    assert page.count('class="tile"') == 8


async def test_a_press_reaches_the_station_and_answers_with_the_next_screen(site: Site) -> None:
    site.station.on_press = lambda button, value: site.station.show(SCREENS["choose"])
    answer = await site.press(button="guest")
    assert msgspec.json.decode(answer.content, type=Screen).name is Name.CHOOSE
    assert site.station.presses == [(Button.GUEST, None)]


async def test_a_material_is_pressed_with_its_code(site: Site) -> None:
    await site.press(button="material", value="PET")
    assert site.station.presses == [(Button.MATERIAL, "PET")]


async def test_what_the_station_refuses_is_a_problem_with_its_code(site: Site) -> None:
    assert code_of(await site.press(button="tare", value="refuse")) == (409, "station.value")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"button": "explode"}', (422, "kiosk.body")),
        (b'{"button": "tare", "valu": "1"}', (422, "kiosk.body")),
        (b'{"button": "tare", "value": 12}', (422, "kiosk.body")),
        (b"\xff\x00", (422, "kiosk.body")),
        (b"", (422, "kiosk.body")),
        (b'{"button":"tare","value":"' + b"9" * 65 + b'"}', (422, "kiosk.value.long")),
        (b'{"button":"tare","value":"' + b"9" * 5000 + b'"}', (413, "kiosk.body.long")),
    ],
)
async def test_a_body_that_is_none_is_named_and_reaches_nobody(
    site: Site, body: bytes, expected: tuple[int, str]
) -> None:
    answer = await site.client.post("/api/press", content=body, headers={"Content-Type": "application/json"})
    assert code_of(answer) == expected
    assert site.station.presses == []


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Origin": "http://evil.example"}, (403, "kiosk.origin.refused")),
        ({"Origin": "null"}, (403, "kiosk.origin.refused")),
        ({"Origin": "http://127.0.0.1:1"}, (403, "kiosk.origin.refused")),
        ({"Sec-Fetch-Site": "cross-site"}, (403, "kiosk.origin.refused")),
        ({"Host": "kiosk.evil.example"}, (421, "kiosk.host.refused")),
        ({"Host": "127.0.0.1.evil.example:8480"}, (421, "kiosk.host.refused")),
        ({"Content-Type": "text/plain"}, (415, "kiosk.body.type")),
        ({"Content-Type": "application/x-www-form-urlencoded"}, (415, "kiosk.body.type")),
    ],
)
async def test_a_stranger_cannot_press(
    site: Site, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    answer = await site.client.post(
        "/api/press",
        content=b'{"button":"guest"}',
        headers={"Content-Type": "application/json", **headers},
    )
    assert code_of(answer) == expected
    assert site.station.presses == []


@pytest.mark.parametrize("peer", ["192.168.1.20", "::ffff:10.0.0.1", "nonsense", None])
def test_nobody_from_another_machine_is_answered(peer: str | None) -> None:
    refusal = judge("GET", None if peer is None else (peer, 1), Headers({"host": "127.0.0.1"}))
    assert refusal is not None
    assert (refusal.status, refusal.code) == (403, "kiosk.peer.refused")


async def test_our_own_page_can_press(site: Site) -> None:
    answer = await site.client.post(
        "/api/press", json={"button": "guest"}, headers={"Origin": site.server.url}
    )
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/", "/screen", "/api/screen", "/api/events", "/assets/kiosk.js"])
async def test_a_rebound_name_reads_nothing(site: Site, path: str) -> None:
    answer = await site.client.get(path, headers={"Host": "rebound.example"})
    assert code_of(answer) == (421, "kiosk.host.refused")


async def test_every_answer_forbids_inline_scripts_and_foreign_resources(site: Site) -> None:
    for path in ("/", "/api/screen", "/assets/kiosk.css", "/nowhere", "/pictures/pet.svg"):
        policy = (await site.client.get(path)).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy


async def test_the_page_and_its_files_name_nothing_outside(site: Site) -> None:
    page = (await site.client.get("/")).text
    assert "<script>" not in page
    assert " style=" not in page
    assert re.search(r" on[a-z]+=", page) is None
    for path in ("/", "/assets/kiosk.css", "/assets/kiosk.js", "/pictures/pet.svg"):
        text = (await site.client.get(path)).text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text
        assert "https://" not in text


@pytest.mark.parametrize(
    "path", ["/nowhere", "/assets/../app.py", "/assets/app.py", "/pictures/none.svg", "/a/b/c"]
)
async def test_what_is_not_there_is_a_problem(site: Site, path: str) -> None:
    assert code_of(await site.client.get(path)) == (404, "kiosk.path.unknown")


async def test_the_wrong_method_is_a_problem(site: Site) -> None:
    assert code_of(await site.client.get("/api/press")) == (405, "kiosk.method.refused")


async def test_a_known_file_is_not_sent_twice(site: Site) -> None:
    first = await site.client.get("/assets/kiosk.css")
    again = await site.client.get("/assets/kiosk.css", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_a_language_is_remembered_per_browser_and_forgotten_with_null(site: Site) -> None:
    async with httpx.AsyncClient(base_url=site.server.url) as other:
        await site.client.post("/api/language", json={"language": "en"})
        assert "What have you brought" in (await site.client.get("/screen")).text
        assert "आज के ल्याउनुभयो" in (await other.get("/screen")).text
    answer = await site.client.post("/api/language", json={"language": None})
    assert answer.json() == {"language": "ne"}
    assert "आज के ल्याउनुभयो" in (await site.client.get("/screen")).text


async def test_an_unknown_language_is_refused_and_a_strange_cookie_ignored(site: Site) -> None:
    assert code_of(await site.client.post("/api/language", json={"language": "xx"})) == (422, "kiosk.body")
    answer = await site.client.get("/screen", headers={"Cookie": "reloop_language=<script>"})
    assert 'data-language="ne"' in answer.text


async def test_an_alias_cannot_become_markup(site: Site) -> None:
    site.station.show(msgspec.structs.replace(SCREENS["choose"], alias="<img src=x onerror=alert(1)>"))
    text = (await site.client.get("/screen")).text
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text


async def test_the_receipts_qr_is_inline_and_the_claim_code_shown_to_the_guest(site: Site) -> None:
    site.station.show(receipt(GUEST_RECEIPT))
    text = (await site.client.get("/screen")).text
    assert '<svg viewBox="0 0' in text
    assert str(GUEST_RECEIPT.claim_code) in text


async def test_a_guest_sees_the_claim_code_before_anything_is_saved(site: Site) -> None:
    for slug in ("choose-guest", "weigh-guest-tare", "saved-guest"):
        site.station.show(SCREENS[slug])
        assert str(SCREENS[slug].claim_code) in (await site.client.get("/screen")).text


async def test_no_time_is_shown_while_the_clock_is_unsure(site: Site) -> None:
    site.station.show(receipt())
    assert "२०२६-११-२३" in (await site.client.get("/screen")).text
    site.station.show(receipt(notices=(Notice.CLOCK_UNSURE,)))
    assert "२०२६" not in (await site.client.get("/screen")).text


async def test_a_receipt_names_materials_that_it_no_longer_offers(site: Site) -> None:
    site.station.show(receipt())
    assert "<span>PET</span>" in (await site.client.get("/screen")).text
    site.station.show(SCREENS["choose"])
    await site.client.get("/screen")
    site.station.show(receipt())
    assert "<span>पेट बोतल</span>" in (await site.client.get("/screen")).text


async def test_the_stream_begins_with_now_and_follows_every_change(site: Site) -> None:
    async with events(site) as stream:
        assert (await next_screen(stream)).name is Name.IDLE
        shown = site.station.show(SCREENS["choose"])
        assert await next_screen(stream) == shown


async def test_a_quiet_station_still_beats_and_repeats_no_screen(site: Site) -> None:
    async with events(site) as stream:
        await next_screen(stream)
        async with asyncio.timeout(DEADLINE_S):
            assert [(await anext(stream))[0] for _ in range(2)] == ["beat", "beat"]


async def test_weights_come_at_most_ten_times_a_second_and_the_newest_wins(site: Site) -> None:
    loop = asyncio.get_running_loop()
    site.station.show(weigh())
    async with events(site) as stream:
        await next_screen(stream)
        started_s, seen = loop.time(), 0
        feeding = asyncio.create_task(_feed(site.station, 300))
        newest = site.station.screen
        while newest.weight is None or newest.weight.net_g != 300:
            newest = await next_screen(stream)
            seen += 1
        took_s = loop.time() - started_s
        await feeding
    assert 2 <= seen <= took_s * 10 + 2


async def _feed(station: ScriptedStation, count: int) -> None:
    for net_g in range(1, count + 1):
        station.change(weight=weight(net_g))
        await asyncio.sleep(0.002)


async def test_anything_but_a_weight_does_not_wait_for_the_gap(site: Site) -> None:
    loop = asyncio.get_running_loop()
    site.station.show(weigh())
    async with events(site) as stream:
        await next_screen(stream)
        delays = []
        for _ in range(5):
            started_s = loop.time()
            site.station.change(message=Message.NOT_STABLE)
            while (await next_screen(stream)).message is None:
                pass
            delays.append(loop.time() - started_s)
            site.station.change(message=None)
            await next_screen(stream)
    assert min(delays) < 0.08


async def test_more_viewers_than_allowed_are_turned_away_and_seats_are_given_back() -> None:
    async with Site(viewers_max=2) as site:
        async with events(site) as one, events(site) as two:
            await next_screen(one)
            await next_screen(two)
            assert code_of(await site.client.get("/api/events")) == (503, "kiosk.viewers.full")
        await until(lambda: site.station.subscribers == 0)
        async with events(site) as three:
            await next_screen(three)


async def test_a_stop_ends_open_streams_at_once() -> None:
    async with Site() as site, events(site) as stream:
        await next_screen(stream)
        site.server.stop()
        async with asyncio.timeout(DEADLINE_S):
            assert [event async for event, _, _ in stream if event == "message"] == []
    assert site.station.subscribers == 0


async def test_a_taken_port_is_named_before_anything_runs() -> None:
    async with Site() as site:
        with pytest.raises(PortTakenError, match=str(site.server.port)):
            KioskServer(create_kiosk(site.station), port=site.server.port)


async def test_presses_wait_for_nobody_else(site: Site) -> None:
    """Ten presses at once all reach the station; the page itself allows only one at a time."""
    answers = await asyncio.gather(*(site.press(button="tare") for _ in range(10)))
    assert [answer.status_code for answer in answers] == [200] * 10
    assert len(site.station.presses) == 10

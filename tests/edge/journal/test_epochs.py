"""New epochs: what is not acknowledged travels whole, stays itself, and old files go when all is safe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.journal.export import export_directory
from protocol.bodies import RecordCarried
from protocol.records import ClockQuality, decode_record, next_digest, record_id
from tests.edge.journal.site import BOOT, DAY_MS, GATEWAY, NOW_MS, Site, chain_holds, visits, weighing

if TYPE_CHECKING:
    import uuid

    from edge.journal import Journal


def originals(journal: Journal) -> list[tuple[int, int, uuid.UUID]]:
    """(epoch, seq, id) of the innermost record of every entry."""
    found = []
    for entry in journal.entries():
        body = entry.record.body
        if isinstance(body, RecordCarried):
            found.append((body.epoch, body.seq, record_id(next_digest(body.prev_digest, body.data))))
        else:
            found.append((journal.epoch, entry.seq, entry.id))
    return found


def test_a_new_epoch_carries_exactly_what_is_not_acknowledged(site: Site) -> None:
    journal = site.open()
    visits(journal, 4)
    before, epoch = originals(journal), journal.epoch
    journal.acknowledge(5, NOW_MS)
    journal.new_epoch("forked")
    assert journal.epoch != epoch
    assert (journal.head, journal.acked, journal.birth.reason, journal.birth.carried) == (7, 0, "forked", 7)
    assert originals(journal) == before[5:]
    assert journal.server_time_ms == NOW_MS
    assert chain_holds(journal)
    journal.append(weighing())
    journal.close()
    again = site.open()
    assert (again.head, again.birth.reason) == (8, "continued")
    assert again.verify().epochs == 2
    again.close()


def test_a_record_carried_twice_is_wrapped_once(site: Site) -> None:
    journal = site.open()
    visits(journal, 2)
    before = originals(journal)
    for reason in ("forked", "restored", "forked"):
        journal.new_epoch(reason)
        extra = journal.append(weighing())[0]
        before.append((journal.epoch, extra.seq, extra.id))
    assert originals(journal) == before
    for entry in journal.entries():
        body = entry.record.body
        if isinstance(body, RecordCarried):
            assert not isinstance(decode_record(body.data).body, RecordCarried)
    journal.close()


def test_boot_and_clock_of_a_carried_record_stay_its_own(site: Site) -> None:
    site.clock.worth = ClockQuality.UNKNOWN
    journal = site.open()
    journal.append(weighing())
    journal.close()
    site.boot_id, site.clock.worth = "next", ClockQuality.SYNCED
    site.clock.mono += 10_000
    journal = site.open()
    journal.new_epoch("forked")
    outer = next(journal.entries()).record
    assert isinstance(outer.body, RecordCarried)
    inner = decode_record(outer.body.data)
    assert (outer.boot, outer.clock, inner.boot, inner.clock) == (
        2,
        ClockQuality.SYNCED,
        1,
        ClockQuality.UNKNOWN,
    )
    journal.close()


def test_for_a_cloud_that_forgot_everything_everything_kept_is_carried(site: Site) -> None:
    journal = site.open()
    visits(journal, 3)
    journal.acknowledge(9, NOW_MS)
    journal.new_epoch("forked")
    visits(journal, 2)
    journal.acknowledge(6, NOW_MS)
    journal.prune()
    before = {line["id"] for line in export_directory(site.folder)}
    journal.new_epoch("cloud restored", everything=True)
    assert {str(found[2]) for found in originals(journal)} == before
    assert journal.head == 15
    journal.close()


def test_a_weighing_is_not_credited_twice_when_it_was_hit_after_its_ack_and_the_cloud_forgot(
    site: Site,
) -> None:
    """What its bytes say now has another id: it would count beside the one the cloud still has."""
    journal = site.open()
    visits(journal, 3)
    journal.acknowledge(9, NOW_MS)
    before = originals(journal)
    writer = journal._store._writer
    assert writer is not None
    data = journal.read(5, 1)[0]
    other = data.replace((1001).to_bytes(2, "big"), (9001).to_bytes(2, "big"))
    assert other != data
    writer.execute("UPDATE records SET data = ? WHERE seq = 5", (other,))
    journal.new_epoch("cloud restored", everything=True)
    assert originals(journal) == before[:4] + before[5:]
    assert journal.birth.lost == 1
    journal.close()


def test_if_the_newest_file_is_lost_the_older_one_gives_back_what_was_not_acknowledged(site: Site) -> None:
    journal = site.open()
    visits(journal, 3)
    before = originals(journal)
    first = site.journal_file()
    journal.new_epoch("forked")
    newest = journal._store.path
    journal.close()
    newest.write_bytes(b"nothing is left of it" * 1000)
    journal = site.open()
    assert journal.birth.reason == "damaged"
    assert originals(journal) == before
    assert first.exists()
    journal.close()


def test_damage_found_while_opening_a_new_epoch_is_repaired_on_the_way(site: Site) -> None:
    journal = site.open()
    visits(journal, 3)
    before = originals(journal)
    writer = journal._store._writer
    assert writer is not None
    writer.execute("UPDATE records SET data = zeroblob(9) WHERE seq = 4")
    journal.new_epoch("forked")
    assert originals(journal) == before[:3] + before[4:]
    assert (journal.birth.reason, journal.verify().ok) == ("forked", True)
    journal.close()
    assert len(list(site.folder.glob("*.damaged"))) == 1


def test_an_older_file_goes_only_when_all_it_held_is_acknowledged_and_old(site: Site) -> None:
    journal = site.open()
    visits(journal, 3)
    first = site.journal_file()
    journal.new_epoch("forked")
    visits(journal, 1)
    journal.acknowledge(8, NOW_MS)
    assert journal.prune() == 0  # the ninth carried one is not acknowledged yet
    journal.acknowledge(9, NOW_MS)
    assert journal.prune() == 0
    journal.acknowledge(10, NOW_MS + 29 * DAY_MS)
    assert journal.prune() == 0
    assert first.exists()
    journal.acknowledge(11, NOW_MS + 31 * DAY_MS)
    assert journal.prune() > 0
    assert not first.exists()
    journal.close()


def test_pruning_follows_the_time_that_acks_sign_and_leaves_an_anchor(site: Site) -> None:
    journal = site.open()
    visits(journal, 10)
    journal.acknowledge(12, NOW_MS)
    journal.acknowledge(20, NOW_MS + 5 * DAY_MS)
    site.clock.wall += 1000 * DAY_MS  # our own clock decides nothing
    assert journal.prune() == 0
    journal.acknowledge(21, NOW_MS + 31 * DAY_MS)
    digest = journal.digest_at(12)
    assert journal.prune() == 12
    assert (journal.first_kept, journal.digest_at(12), journal.digest_at(11)) == (13, digest, None)
    assert journal.read(5, 1000) == []
    assert len(journal.read(13, 10**6)) == 18
    assert journal.prune() == 0
    assert journal.verify().ok
    journal.close()
    again = site.open()
    assert (again.first_kept, again.head, again.birth.reason) == (13, 30, "continued")
    again.new_epoch("forked")
    assert again.head == 9
    again.close()


def test_nothing_unacknowledged_is_ever_pruned_even_over_the_budget(site: Site) -> None:
    from edge.config import JournalSettings

    site.settings = JournalSettings(ballast_bytes=0, free_bytes_min=0, disk_budget_bytes=1)
    journal = site.open()
    visits(journal, 10)
    journal.acknowledge(14, NOW_MS)
    while journal.prune():
        pass
    assert (journal.first_kept, journal.head) == (15, 30)
    assert journal.intake_allowed().reason == "disk_low"
    assert len(journal.read(15, 10**6)) == 16
    journal.acknowledge(3, NOW_MS)  # a cloud restored from long ago
    assert journal.prune() == 0
    assert journal.acked == 3
    journal.close()
    again = site.open()
    assert (again.acked, again.birth.reason) == (3, "continued")
    again.close()


def test_export_gives_every_record_once_under_its_original_place(site: Site) -> None:
    journal = site.open()
    visits(journal, 2)
    first_epoch = journal.epoch
    before = originals(journal)
    journal.acknowledge(2, NOW_MS)
    journal.new_epoch("forked")
    last = journal.append(weighing(2000))[0]
    lines = list(export_directory(site.folder))
    assert [(line["epoch"], line["seq"], line["id"]) for line in lines] == [
        *((epoch, seq, str(id_)) for epoch, seq, id_ in before),
        (journal.epoch, last.seq, str(last.id)),
    ]
    line = lines[1]
    assert line["gateway"] == GATEWAY
    assert (line["kind"], line["net_g"], line["material"], line["points"]) == (
        "weighing.recorded",
        1000,
        "pet",
        25,
    )
    assert (line["holder_kind"], line["holder"], line["citizen"]) == (
        "card",
        b"pseudony\x01".hex(),
        b"pseudony".hex(),
    )
    assert line["recorded_at"] == "2026-05-28T20:26:40.000+00:00"
    assert "citizen" not in lines[0]  # a guest
    journal.close()
    for path in site.folder.glob(f"{first_epoch:016x}*"):
        path.unlink()
    carried = next(line for line in export_directory(site.folder) if "carried_in" in line)
    assert (carried["epoch"], carried["seq"], carried["carried_in"]) == (
        first_epoch,
        3,
        [journal.epoch, 1],
    )
    assert site.boot_id == BOOT

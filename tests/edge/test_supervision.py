from __future__ import annotations

import asyncio
import gc

import pytest

from edge.supervision import end_all, run_until_one_ends


async def test_a_task_that_swallows_its_first_cancellation_is_ended_all_the_same() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(60)

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end_all([task])
    assert task.cancelled()


async def test_the_first_to_fail_ends_the_others_and_is_raised() -> None:
    ended = asyncio.Event()

    async def waiting() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def failing() -> None:
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        await run_until_one_ends(waiting(), failing())
    assert ended.is_set()


async def test_one_that_returns_ends_the_others_without_an_error() -> None:
    async def returning() -> None:
        await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await run_until_one_ends(asyncio.Event().wait(), returning())  # type: ignore[arg-type]


async def test_cancelling_the_whole_leaves_no_part_behind() -> None:
    ended: list[int] = []

    async def part(number: int) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(number)

    whole = asyncio.create_task(run_until_one_ends(part(1), part(2)))
    await asyncio.sleep(0.01)
    await end_all([whole])
    assert sorted(ended) == [1, 2]


async def test_an_error_of_a_part_that_was_being_ended_does_not_hide_the_first_one() -> None:
    async def falling() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise OSError("while ending")

    async def failing() -> None:
        raise ConnectionResetError("first")

    with pytest.raises(ConnectionResetError, match="first"):
        await run_until_one_ends(falling(), failing())


async def test_a_failure_that_meets_a_cancellation_is_not_complained_about() -> None:
    complaints: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(str(context["message"])))

    async def failing() -> None:
        raise ConnectionResetError("gone")

    running = asyncio.create_task(run_until_one_ends(asyncio.sleep(60), failing()))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    del running
    gc.collect()
    assert complaints == []

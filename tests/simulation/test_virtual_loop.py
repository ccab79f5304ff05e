"""What the simulation itself stands on: virtual time, drawn order, and a death that nothing survives."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from aiservice.core.ids import uuid7
from tests.simulation.mortal import MortalProcess
from tests.simulation.virtual_loop import Killed, Order, Stuck, VirtualLoop


async def in_order(names: list[str]) -> None:
    async def note(name: str) -> None:
        for step in range(3):
            await asyncio.sleep(0)
            names.append(f"{name}{step}")

    await asyncio.gather(*(note(name) for name in "abcde"))


def test_time_passes_only_when_nothing_can_run() -> None:
    loop = VirtualLoop(1)

    async def main() -> float:
        async with asyncio.timeout(7_200):
            await asyncio.sleep(3_600)
        return loop.time()

    started_s = time.monotonic()

    assert loop.run_until_complete(main()) == 3_600
    assert time.monotonic() - started_s < 5


@pytest.mark.parametrize("order", Order)
def test_a_seed_decides_the_order(order: Order) -> None:
    orders: list[list[str]] = []
    for seed in (1, 1, 2):
        orders.append([])
        VirtualLoop(seed, order=order).run_until_complete(in_order(orders[-1]))

    assert orders[0] == orders[1]
    assert (orders[0] == orders[2]) == (order is Order.OLDEST)
    for name in "abcde":
        assert [text for text in orders[0] if text[0] == name] == [f"{name}{step}" for step in range(3)]


def test_thread_work_runs_later_and_inline() -> None:
    loop = VirtualLoop(1)

    async def main() -> tuple[int, int]:
        return await asyncio.gather(asyncio.to_thread(os.getpid), asyncio.to_thread(lambda: 7))

    assert loop.run_until_complete(main()) == [os.getpid(), 7]
    assert loop.time() < 1


def test_a_task_that_waits_for_nothing_is_named() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck, match=r"main"):
        VirtualLoop(1).run_until_complete(main())


def test_an_error_in_a_callback_is_a_complaint() -> None:
    loop = VirtualLoop(1)

    async def main() -> None:
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    loop.run_until_complete(main())

    assert "ZeroDivisionError" in loop.complaints[0]


def test_the_dead_do_nothing_more(tmp_path: Path) -> None:
    loop = VirtualLoop(1)
    process = MortalProcess("one", loop, tmp_path)
    done: list[str] = []

    async def work() -> None:
        try:
            with (tmp_path / "open").open("w"):
                await asyncio.sleep(10)
            done.append("woke up")
        finally:
            process.check()
            done.append("cleaned up")

    async def main() -> None:
        process.spawn(work())
        await asyncio.sleep(1)
        process.kill()
        await asyncio.sleep(100)

    loop.run_until_complete(main())

    assert process.is_dead
    assert done == []
    assert not any(str(link.readlink()).startswith(str(tmp_path)) for link in _links())
    assert loop.pending() == []
    assert loop.complaints == []


def test_a_process_dies_at_the_line_that_was_drawn(tmp_path: Path) -> None:
    loop = VirtualLoop(1)
    process = MortalProcess("one", loop, tmp_path)
    process.doom(3, "core/ids.py")

    async def main() -> None:
        task = process.spawn(_many_ids())
        await asyncio.sleep(1)
        assert isinstance(task.exception(), Killed)

    loop.run_until_complete(main())

    assert process.place.startswith("core/ids.py:")


def test_a_stalled_process_goes_on_where_it_was(tmp_path: Path) -> None:
    loop = VirtualLoop(1)
    process = MortalProcess("one", loop, tmp_path)
    woke: list[float] = []

    async def work() -> None:
        await asyncio.sleep(1)
        woke.append(loop.time())

    async def main() -> None:
        task = process.spawn(work())
        process.is_stalled = True
        await asyncio.sleep(5)
        process.is_stalled = False
        loop.resume()
        await task

    loop.run_until_complete(main())

    assert woke == [6]


async def _many_ids() -> None:
    for _ in range(10):
        uuid7(0)


def _links() -> list[Path]:
    return [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]

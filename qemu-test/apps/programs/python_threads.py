# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Threads that compute, hand things to each other, take turns and sleep, until there is a file `stop`. Then all that
they have done is checked."""

import hashlib
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path


class Chain:
    """A chain of hashes, in which a lost or wrong step shows in all that follow."""

    def __init__(self, seed: str) -> None:
        self.seed, self.length, self.value = seed, 0, seed.encode()

    def step(self) -> None:
        self.value = hashlib.sha256(self.value).digest()
        self.length += 1

    def is_right(self) -> bool:
        again = Chain(self.seed)
        while again.length < self.length:
            again.step()
        return again.value == self.value


stop = threading.Event()


def compute(chain: Chain) -> None:
    while not stop.is_set():
        for _ in range(100):
            chain.step()
        time.sleep(0.005)


def produce(items: "queue.Queue[int | None]") -> None:
    number = 0
    while not stop.is_set():
        items.put(number)
        number += 1
    items.put(None)


def consume(items: "queue.Queue[int | None]", found: list[int]) -> None:
    while (item := items.get()) is not None:
        found.append(item)
        if item % 10 == 0:
            time.sleep(0.01)


class Turns:
    """Two threads wait for each other, with a condition."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.turn, self.log = 0, []

    def play(self, player: int) -> None:
        while not stop.is_set():
            with self.changed:
                if self.changed.wait_for(lambda: self.turn == player, timeout=0.1):
                    self.log.append(player)
                    self.turn = 1 - player
                    self.changed.notify()
            time.sleep(0.003)


class Counter:
    """Read, wait, write: right only if the lock holds."""

    def __init__(self) -> None:
        self.lock, self.value = threading.Lock(), 0

    def count(self, mine: list[int]) -> None:
        while not stop.is_set():
            with self.lock:
                seen = self.value
                time.sleep(0.0005)
                self.value = seen + 1
            mine[0] += 1


def main() -> None:
    chains = [Chain(f"thread {number}") for number in range(4)]
    items: queue.Queue[int | None] = queue.Queue(5)
    found: list[int] = []
    turns, counter = Turns(), Counter()
    counted: list[list[int]] = [[0] for _ in range(3)]
    work: list[tuple[Callable[..., None], tuple[object, ...]]] = [
        *((compute, (chain,)) for chain in chains),
        (produce, (items,)),
        (consume, (items, found)),
        *((turns.play, (player,)) for player in (0, 1)),
        *((counter.count, (mine,)) for mine in counted),
    ]
    threads = [threading.Thread(target=target, args=arguments) for target, arguments in work]
    idents = []
    for thread in threads:
        thread.start()
        idents.append(thread.native_id)
    progress = os.open("progress", os.O_WRONLY | os.O_CREAT, 0o644)
    while not Path("stop").exists():
        time.sleep(0.02)
        state = [*(chain.length for chain in chains), len(found), len(turns.log), counter.value]
        if all(state):
            os.pwrite(progress, " ".join(f"{number:9}" for number in state).encode() + b"\n", 0)
    stop.set()
    for thread, ident in zip(threads, idents):
        thread.join()
        assert thread.native_id == ident
    for chain in chains:
        assert chain.is_right(), chain.seed
    assert found == list(range(len(found))), "items"
    assert all(a != b for a, b in zip(turns.log, turns.log[1:])), "turns"
    assert counter.value == sum(mine[0] for mine in counted), "counter"
    Path("result").write_text("every sum, item and turn is right\n")


if __name__ == "__main__":
    main()

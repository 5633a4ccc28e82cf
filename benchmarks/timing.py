"""Interleaved timing, and what was found: A B C A B C ..., so that a change of the machine's speed hits all alike."""

import statistics
import time
from dataclasses import dataclass


def interleaved(contenders, rounds, pause):
    """The seconds of each contender in each round: name -> list. One more round before them is a warm-up.

    Args:
        contenders: name -> function without arguments that returns seconds: see `seconds_of`, `seconds_of_a_call`.
        rounds: how often each contender has its turn; at least 1.
        pause: seconds before each turn, in which the threads of the one before come to rest.
    """
    seconds = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, contender in contenders.items():
            time.sleep(pause)
            measured = contender()
            if turn:
                seconds[name].append(measured)
    return seconds


def seconds_of(function):
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def seconds_of_a_call(function, calls):
    """The median over `calls` calls, each timed alone."""
    return statistics.median(seconds_of(function) for _ in range(calls))


@dataclass(frozen=True)
class Comparison:
    """One thing timed for several contenders in the same rounds; the first of them is this project's.

    unit: what one number is, for example "s an epoch"; scale: how many of it are in a second.
    seconds: name of the contender -> seconds in each round.
    asked: name of a contender -> the largest ratio to it that is asked for; contenders without one are for information.
    note: what a reader must know to judge the numbers.
    """

    title: str
    unit: str
    scale: float
    seconds: dict
    asked: dict
    note: str

    def __post_init__(self):
        unknown = set(self.asked) - set(self.seconds)
        if unknown:
            raise ValueError(f"{sorted(unknown)} were not timed; {sorted(self.seconds)} were.")

    @property
    def ours(self):
        return next(iter(self.seconds))

    def median(self, name):
        return statistics.median(self.seconds[name])

    def ratio(self, name):
        """Our seconds over theirs in the same round, the median over the rounds: below 1, we are faster."""
        pairs = zip(self.seconds[self.ours], self.seconds[name], strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)

    def is_met(self, name):
        return self.ratio(name) <= self.asked[name]

    def to_json(self):
        """Medians, ratios and each raw time, in seconds."""
        contenders = {
            name: {
                "median_seconds": self.median(name),
                "ratio": self.ratio(name),
                "asked_ratio": self.asked.get(name),
                "seconds": seconds,
            }
            for name, seconds in self.seconds.items()
        }
        return {
            "title": self.title,
            "note": self.note,
            "ours": self.ours,
            "rounds": len(self.seconds[self.ours]),
            "contenders": contenders,
        }

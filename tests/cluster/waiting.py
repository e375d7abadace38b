# SPDX-License-Identifier: MIT
"""Waiting with a deadline: the only place of the cluster tests that sleeps."""

import time

PAUSE_S = 0.05


class Hopeless(Exception):
    """Raised by what until() calls: waiting longer is of no use."""


def until(deadline_s, function, what):
    """
    What function() returns as soon as that is true; AssertionError after the
    deadline. An AssertionError inside means "not yet"; the last one is told.
    """
    end = time.monotonic() + deadline_s
    last = result = None
    while True:
        try:
            result = function()
            if result:
                return result
        except AssertionError as error:
            last = error
        if time.monotonic() >= end:
            seen = last or f"last seen: {result!r}"
            raise AssertionError(f"{what}: not within {deadline_s} s; {seen}")
        time.sleep(PAUSE_S)


def stays(duration_s, function, what):
    """function() is true all the time."""
    end = time.monotonic() + duration_s
    while time.monotonic() < end:
        assert function(), f"{what}: no longer so"
        time.sleep(PAUSE_S)

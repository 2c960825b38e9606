"""Times of day: `3:30 p.m.`, `15:30`."""

import re

CLOCK = re.compile(r"(\d{1,2}):([0-5]\d)(?:\s*([ap])\.?\s?m\.?)?", re.IGNORECASE)
NOON = 12


def same_time(gold: str, answer: str) -> bool:
    """Whether two times of day are the same. Beside a time with `a.m.` or `p.m.`, one without counts as a time of the
    24-hour clock, and only where it is unambiguous: `15:30` is `3:30 p.m.`, `3:30` is not.
    """
    times = [CLOCK.fullmatch(text) for text in (gold, answer)]
    if times[0] is None or times[1] is None:
        return False
    halves = [bool(time[3]) for time in times if time]
    minutes = [_minutes(time) for time in times if time]
    if halves[0] == halves[1]:
        return minutes[0] == minutes[1]
    bare = minutes[halves.index(False)]
    return minutes[0] == minutes[1] and not 60 <= bare < (NOON + 1) * 60


def _minutes(time: re.Match[str]) -> int:
    hour = int(time[1])
    if time[3]:
        hour = hour % NOON + (NOON if time[3].lower() == "p" else 0)
    return 60 * hour + int(time[2])

"""Times of day and dates: `3:30 p.m.`, `15:30`, `3 pm`; `March 5`, `5th of March, 2020`."""

import re
from calendar import month_name

CLOCK = re.compile(
    r"(\d{1,2})(?:[:.]([0-5]\d)(?::00)?|(?=\s*[ap]\.?\s?m)|(?=\s*o'clock))(?:\s*o'clock)?(?:\s*h(?:ou)?rs)?"
    r"(?:\s*([ap])\.?\s?m\.?|\s*in the (morning|afternoon|evening))?",
    re.IGNORECASE,
)
FRENCH = re.compile(r"(\d{1,2})h([0-5]\d)")
NOON = 12
MONTH = r"(?P<month>[A-Za-z]{3,9})\.?"
DAY = r"(?:the )?(?P<day>\d{1,2})(?:st|nd|rd|th)?"
OTHER_DAY, OTHER_MONTH = DAY.replace("<day>", "<first>"), MONTH.replace("<month>", "<second>")
DATE = re.compile(
    rf"(?:on )?(?:{MONTH} {DAY}|{OTHER_DAY} (?:of )?{OTHER_MONTH})(?:,? (?P<year>\d{{4}}))?", re.IGNORECASE
)
ISO = re.compile(r"(\d{4})-(0[1-9]|1[0-2])-([0-3]\d)")
MONTHS = {name[:length].lower(): number for number, name in enumerate(month_name) for length in (3, len(name)) if name}


def is_time(text: str) -> bool:
    """Whether plain text is a time of day. `3.30` alone is a number."""
    match = CLOCK.fullmatch(FRENCH.sub(r"\1:\2", text))
    return bool(match and (":" in match[0] or match[3] or match[4] or "clock" in text))


def same_time(gold: str, answer: str) -> bool:
    """Whether two times of day are the same. Beside a time with `a.m.` or `p.m.`, one without counts as a time of the
    24-hour clock, and only where it is unambiguous: `15:30` is `3:30 p.m.`, `3:30` is not.
    """
    times = [CLOCK.fullmatch(FRENCH.sub(r"\1:\2", text)) for text in (gold, answer)]
    if times[0] is None or times[1] is None:
        return False
    halves = [bool(_half(time)) for time in times if time]
    minutes = [_minutes(time) for time in times if time]
    if halves[0] == halves[1]:
        return minutes[0] == minutes[1]
    bare = minutes[halves.index(False)]
    return minutes[0] == minutes[1] and not 60 <= bare < (NOON + 1) * 60


def date(text: str) -> tuple[int, int, str | None] | None:
    """Month, day and year, where there is one, of plain text; None for what is no date."""
    if match := ISO.fullmatch(text):
        return int(match[2]), int(match[3]), match[1]
    match = DATE.fullmatch(text)
    month = MONTHS.get((match["month"] or match["second"]).lower()) if match else None
    return (month, int(match["day"] or match["first"]), match["year"]) if match and month else None


def _half(time: re.Match[str]) -> str:
    return (time[3] or {"morning": "a"}.get((time[4] or "").lower(), "p" if time[4] else "")).lower()


def _minutes(time: re.Match[str]) -> int:
    hour = int(time[1])
    if half := _half(time):
        hour = hour % NOON + (NOON if half == "p" else 0)
    return 60 * hour + int(time[2] or 0)

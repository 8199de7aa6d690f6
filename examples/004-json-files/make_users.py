"""Makes documents of users, as Microsoft Graph exports them, with what real exports have.

`python make_users.py` makes the four files in `users/` that are in the repository; `python make_users.py large 3000` four others of 3,000 users each
in `large/`. Always: the same users, whatever machine makes them. Memory does not grow with the number.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SAMPLE_USERS: Final = 25
FILES: Final = 4
CUT_USER: Final = 19
"""The user of the last file of the sample within which it is cut short, from 0."""
NEVER, NULL, ONCE = 1, 2, 3
"""Who never signed in, of whom it is not known, who did in one way only; the others in all three."""
LOCATIONS: Final = ("PT", "DE", "IL", "US", None)
GIVEN_NAMES: Final = ("Ana", "Björn", "Dana", "Zoë", 'Sam "the tap"', "Yael")
SURNAMES: Final = ("Silva", "Müller", "Cohen", "O'Neill", "Brown]}")
FAULTS: Final = (
    '{"id": "user-%08d", "accountEnabled": "yes"}',
    '{"id": "user-%08d", "otherMails": "ana@example.org"}',
    '{"id": %d, "mail": "a.number@example.org"}',
    '{"mail": "no.id.%08d@example.org"}',
    '{"id": "user-%08d", "mail": }',
    '{"id": "user-%08d", "signInActivity": {"lastSignInDateTime": 1714550400}}',
    '"user-%08d"',
)
"""Records that are no users, each for a reason of its own: one takes the place of every eleventh user of the sample, of every 997th else."""


def user(number: int) -> dict[str, object]:
    """The user of this number."""
    given, surname = GIVEN_NAMES[number % len(GIVEN_NAMES)], SURNAMES[number % len(SURNAMES)]
    mail = f"user.{number}@example.org"
    made: dict[str, object] = {
        "id": f"user-{number:08}",
        "userPrincipalName": mail,
        "usageLocation": LOCATIONS[number % len(LOCATIONS)],
        "mail": mail if number % 7 else None,
        "accountEnabled": number % 5 > 0,
        "mobilePhone": f"+351 {number:09}" if number % 2 else None,
        "userType": "Guest" if number % 6 == 5 else "Member",
        "givenName": given,
        "surname": surname,
        "otherMails": [f"{number}@example.net"] * (number % 3),
    }
    if number % 13 == 0:
        made = {"id": made["id"]}  # nothing else is required
    ways = {NEVER: (), NULL: (), ONCE: ("SignIn",)}.get(number % 8, ("SignIn", "NonInteractiveSignIn", "SuccessfulSignIn"))
    if number % 8 == NULL:
        made["signInActivity"] = None
    elif ways:
        made["signInActivity"] = {
            key: value
            for place, way in enumerate(ways)
            for key, value in (
                (f"last{way}DateTime", f"2026-03-{1 + number % 28:02}T08:{number % 60:02}:0{place}Z"),
                (f"last{way}RequestId", f"{number:08x}-0000-4000-8000-00000000000{place}"),
            )
        }
    return made


def item(number: int, faults_every: int) -> str:
    """The record of this number as it is written."""
    if number % faults_every == faults_every - 1:
        return FAULTS[number // faults_every % len(FAULTS)] % number
    return json.dumps(user(number), ensure_ascii=False)


def document(numbers: range, faults_every: int) -> Iterator[str]:
    """One document, in pieces."""
    yield '{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users", "value": [\n'
    for number in numbers:
        yield item(number, faults_every) + (",\n" if number + 1 < numbers.stop else "\n")
    yield "]}\n"


def sample() -> dict[str, bytes]:
    """The files in `users/`: the second is compressed, the third has line ends within its items, the fourth is cut short."""
    ranges = [range(place * SAMPLE_USERS, (place + 1) * SAMPLE_USERS) for place in range(FILES)]
    first, second, third, fourth = ("".join(document(numbers, 11)) for numbers in ranges)
    return {
        "users-1.json": first.encode(),
        "users-2.json.gz": gzip.compress(second.encode(), mtime=0),
        "users-3.json": third.replace(', "', ',\n    "').encode(),
        "users-4.json": fourth[: fourth.index(f"user-{ranges[3][CUT_USER]:08}") + 40].encode(),
    }


def make_large(folder: Path, users: int) -> None:
    """Four files of so many users each."""
    for place in range(FILES):
        with (folder / f"users-{place + 1}.json").open("w", encoding="utf-8") as file:
            file.writelines(document(range(place * users, (place + 1) * users), 997))


if __name__ == "__main__":
    target = Path(__file__).parent / (sys.argv[1] if len(sys.argv) > 1 else "users")
    target.mkdir(exist_ok=True)
    if len(sys.argv) > 2:
        make_large(target, int(sys.argv[2]))
    else:
        for name, content in sample().items():
            (target / name).write_bytes(content)

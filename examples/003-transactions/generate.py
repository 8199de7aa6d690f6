"""Makes the file of transactions: `python generate.py` writes 10,000 rows to data/transactions.csv.

Owns: the rows, and what is wrong with bad ones.
Always: the same options make the same bytes, on every machine. The file appears whole or not at all.
Never: uses a real person's transactions. Merchants are the names of shops; everything else is made up.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
HEADER: Final = "id;description;amount;timestamp;merchant;operation_type;side\n"
START: Final = datetime(2023, 1, 1)  # noqa: DTZ001 - the document's timestamps have no zone
SECONDS: Final = 365 * 24 * 3600
MERCHANTS: Final = (
    "EDF", "Engie", "Orange", "SFR", "Bouygues Telecom", "Free", "Carrefour", "Auchan", "E.Leclerc", "Intermarché", "Monoprix",
    "Franprix", "Picard", "Boulangerie Paul", "Brioche Dorée", "Flunch", "Hippopotamus", "SNCF Connect", "RATP", "TotalEnergies",
    "Air France", "Blablacar", "Fnac", "Darty", "Boulanger", "Leroy Merlin", "Castorama", "Décathlon", "Sephora", "La Redoute",
    "Galeries Lafayette", "Pharmacie Lafayette", "Doctolib", "MAIF", "MACIF", "AXA", "Crédit Agricole", "La Poste", "Cultura",
    'Café "Les Deux Moulins"', "L'Occitane",
)  # fmt: skip
OPERATIONS: Final = ("card_payment", "card_payment", "card_payment", "transfer", "direct_debit", "refund", "withdrawal")
KINDS: Final = {
    "card_payment": "Card expense",
    "transfer": "Transfer",
    "direct_debit": "Direct debit",
    "refund": "Refund",
    "withdrawal": "Cash withdrawal",
}
EMPTY_MERCHANT_SHARE: Final = 0.04
CREDIT_SHARE: Final = 0.2


@dataclass(slots=True)
class Row:
    """One transaction; `amount_cents` is negative for money that goes out."""

    number: int
    description: str
    amount_cents: int
    moment: datetime
    merchant: str
    operation_type: str
    side: str

    def line(self) -> str:
        """The row as the file has it: texts in quotes, a decimal comma, no trailing zero after it."""
        texts = (self.description, f"{self.moment:%Y-%m-%d %H:%M:%S}", self.merchant, self.operation_type, self.side)
        description, moment, merchant, operation_type, side = (_quoted(text) for text in texts)
        return f"{self.number};{description};{_amount(self.amount_cents)};{moment};{merchant};{operation_type};{side}\n"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _amount(cents: int) -> str:
    sign, size = "-" if cents < 0 else "", abs(cents)
    return f"{sign}{size // 100},{size % 100:02}"


def _replaced(old: str, new: str) -> Callable[[Row], str]:
    """A fault: a part of the line is another one. `old` is the name of a field."""

    def fault(row: Row) -> str:
        cells = row.line().rstrip("\n").split(";")
        cells[HEADER.rstrip("\n").split(";").index(old)] = new
        return ";".join(cells) + "\n"

    return fault


def _cut(row: Row) -> str:
    return row.line()[: len(str(row.number)) + 12] + "\n"


FAULTS: Final[dict[str, Callable[[Row], str]]] = {
    "an amount that is no number": _replaced("amount", "beaucoup"),
    "an amount with a decimal point": _replaced("amount", "-12.50"),
    "an amount that is missing": _replaced("amount", ""),
    "an id that is no number": _replaced("id", "TX-7"),
    "an id that is negative": _replaced("id", "-7"),
    "a timestamp that is none": _replaced("timestamp", '"28/11/2023"'),
    "a side that is neither": _replaced("side", '"both"'),
    "an operation that is missing": _replaced("operation_type", '""'),
    "a line that was cut": _cut,
}
"""What can be wrong with a row. Each kind breaks its own row alone."""


def rows(count: int, seed: int) -> Iterator[Row]:
    """So many rows, with ids from 1, in no order of time."""
    dice = random.Random(seed)  # noqa: S311 - made-up transactions
    for number in range(1, count + 1):
        side = "credit" if dice.random() < CREDIT_SHARE else "debit"
        operation_type = dice.choice(OPERATIONS)
        merchant = "" if dice.random() < EMPTY_MERCHANT_SHARE else dice.choice(MERCHANTS)
        cents = min(int(dice.paretovariate(0.9) * 400), 999_999) + dice.randrange(100)
        kind = KINDS[operation_type]
        yield Row(
            number=number,
            description=f"{kind} at {merchant}" if merchant else kind,
            amount_cents=cents if side == "credit" else -cents,
            moment=START + timedelta(seconds=dice.randrange(SECONDS)),
            merchant=merchant,
            operation_type=operation_type,
            side=side,
        )


def lines(count: int, bad: int, seed: int) -> Iterator[tuple[str, str]]:
    """Each line, with its fault or "". So many of the rows are bad; which ones, the seed decides."""
    dice = random.Random(seed + 1)  # noqa: S311 - made-up transactions
    kinds = list(FAULTS)
    chosen = {number: kinds[place % len(kinds)] for place, number in enumerate(dice.sample(range(1, count + 1), bad))}
    for row in rows(count, seed):
        fault = chosen.get(row.number, "")
        yield FAULTS[fault](row) if fault else row.line(), fault


def written(output: Path, content: Iterator[tuple[str, str]]) -> Counter[str]:
    """Writes the lines to a file that appears whole. How often each fault is in it. Raises `OSError`."""
    faults: Counter[str] = Counter()
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name(f".{output.name}.unfinished")
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        file.write(HEADER)
        for line, fault in content:
            file.write(line)
            if fault:
                faults[fault] += 1
    unfinished.replace(output)
    return faults


def main() -> None:
    """Writes the file, and prints what is in it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--output", type=Path, default=HERE / "data" / "transactions.csv", help="default: %(default)s")
    parser.add_argument("--rows", type=int, default=10_000, help="default: %(default)s")
    parser.add_argument("--bad", type=int, default=0, help="how many of the rows are bad; default: %(default)s")
    parser.add_argument("--seed", type=int, default=3, help="default: %(default)s")
    arguments = parser.parse_args()
    if arguments.rows < 0 or not 0 <= arguments.bad <= arguments.rows:
        parser.error("--rows is at least 0, and --bad from 0 to --rows")
    try:
        faults = written(arguments.output, lines(arguments.rows, arguments.bad, arguments.seed))
    except OSError as error:
        raise SystemExit(f"{arguments.output} cannot be written: {error.strerror}; choose another --output") from error
    print(json.dumps({"file": str(arguments.output), "rows": arguments.rows, "bad": arguments.bad, "faults": faults}))


if __name__ == "__main__":
    main()

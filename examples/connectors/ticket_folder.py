"""Example of your own remote sink: a class that puts each record into a folder, one file for each.

Delivery is at least once: after a crash the same records come again, with the same keys. A file is named by its record's key, so a
record that comes twice is there once.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from event_processor import Bad, Wait


class TicketFolder:
    """`class = "ticket_folder:TicketFolder"`, with `options = { folder = "tickets" }`."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._folder = str(options["folder"])

    async def deliver(self, records: Sequence[Mapping[str, Any]], *, keys: Sequence[str]) -> None:
        """Returns after all records are there. Raises `Wait` or `Bad` otherwise."""
        if any("id" not in record for record in records):
            raise Bad("a ticket needs an id")
        try:
            # All sinks share one event loop: work that blocks goes into a thread.
            await asyncio.to_thread(self._write, records, keys)
        except OSError as error:
            raise Wait(f"{self._folder}: {error.strerror}", after_s=5.0) from error

    def _write(self, records: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> None:
        for record, key in zip(records, keys, strict=True):
            path = os.path.join(self._folder, f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json")
            with open(f"{path}.new", "w", encoding="utf-8") as file:
                json.dump(record, file)
                file.flush()
                # If the machine stops after `deliver` returned, the record must be there.
                os.fsync(file.fileno())
            os.replace(f"{path}.new", path)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

"""Exactly-once aggregates from append-only logs. One process, one directory; no broker, no database."""

from __future__ import annotations

__version__ = "0.1.0"

"""The daemon's messages to the service manager: it is ready, what it does, and that it still makes progress.

Owns: the notification protocol of systemd (sd_notify(3)): one datagram of `NAME=value` lines to the socket `$NOTIFY_SOCKET`. Two
promises depend on it: the watchdog, and the extension of a timeout.
Always: a call returns within `SEND_TIMEOUT_S` and never raises, because a supervisor that does not listen is no reason to stop.
Without `$NOTIFY_SOCKET` every call does nothing, so the same program runs in a terminal.
Never: no separate thread feeds the watchdog. The working loop feeds it, so a stalled loop triggers it.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

from event_processor.model.contracts import Clock

__all__ = ["ServiceNotifier"]

SEND_TIMEOUT_S: Final = 1
"""How long a message waits for room in the manager's queue before it is discarded."""
STATUS_CHARACTERS_MAX: Final = 500
"""systemd reads at most 4,096 bytes of a datagram; 500 characters are at most 2,000 bytes of UTF-8."""
STATUS_INTERVAL_S: Final = 1.0
"""A status is for people. Each status wakes the manager and its listeners, so there is not one for every commit."""
USEC_PER_S: Final = 1_000_000
USEC_DIGITS_MAX: Final = 20
"""The digits of an unsigned 64-bit integer. The manager stores a time as one."""


class ServiceNotifier:
    """The connection of one service to its manager: `extend` until `ready`, then `progress` and `status`, finally `stopping`.

    `address` is the socket as in `$NOTIFY_SOCKET` ("/path", or "@name" in the abstract namespace); "" for none. After
    `watchdog_period_s` a silent service is killed; None if there is no watchdog. `clock.monotonic_s` must be CLOCK_MONOTONIC,
    like `time.monotonic` on Linux, because the manager compares it with its own clock.
    """

    def __init__(self, address: str, *, clock: Clock, watchdog_period_s: float | None = None) -> None:
        self.watchdog_period_s: Final = watchdog_period_s
        self._clock: Final = clock
        self._address: Final = _socket_address(address)
        self._socket: Final = _datagram_socket() if self._address else None
        self._fed_at_s: float | None = None
        self._extended_to_s: float | None = None
        self._is_watchdog_slow = False
        self._status = ""
        self._status_sent = ""
        self._status_sent_at_s: float | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, process_id: int, clock: Clock) -> Self:
        """From the manager's variables: `NOTIFY_SOCKET`, and `WATCHDOG_USEC` if `WATCHDOG_PID` is absent or is this process."""
        period_s = _watchdog_period_s(environment, process_id)
        return cls(environment.get("NOTIFY_SOCKET", ""), clock=clock, watchdog_period_s=period_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def ready(self, status: str = "") -> None:
        """The service reads its sources: the start or the reload is finished. The watchdog period starts here."""
        watchdog = self._watchdog_lines(self.watchdog_period_s) if self._is_watchdog_slow else []
        if self._send("READY=1", *watchdog, *self._status_lines(status)):
            self._fed_at_s = self._clock.monotonic_s()
            self._extended_to_s, self._is_watchdog_slow = None, False

    def status(self, text: str) -> None:
        """One line for `systemctl status`. Sent at most once a second. `progress` sends the last of the lines in between."""
        self._status = _one_line(text)
        self._send_status()

    def progress(self) -> None:
        """The loop is alive: it committed, it is idle, or it waits with a deadline for something that it can name.

        Call it at least twice per `watchdog_period_s`, from the loop's own thread only. More calls are fine: each reads the
        clock, and at most two messages per period are sent, besides a status that waits.
        """
        if self._socket is None:
            return
        self._send_status()
        self._feed_watchdog()

    def extend(self, seconds: float) -> None:
        """Start, reload or stop may take up to `seconds` from now, whatever the unit's timeout says.

        A watchdog that runs already, which is so after the first `ready`, waits as long too: until the next `ready`.
        Call it again within `seconds`, as often as needed, but only if the work made progress: a recovery that hangs must time
        out.
        """
        now_s = self._clock.monotonic_s()
        if self._extended_to_s is not None and self._extended_to_s - now_s > seconds / 2:
            return
        watchdog = self._watchdog_lines(seconds) if self._fed_at_s is not None else []
        if self._send(f"EXTEND_TIMEOUT_USEC={_usec(seconds)}", *watchdog, wait=False):
            self._extended_to_s, self._is_watchdog_slow = now_s + seconds, bool(watchdog)

    def reloading(self) -> None:
        """A reload begins. `ready` must follow, even if the reload is refused, because the manager waits for it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={_usec(self._clock.monotonic_s())}")

    def stopping(self, status: str = "") -> None:
        """The drain before a clean end begins."""
        self._extended_to_s = None  # an extension of the start does not extend the stop
        self._send("STOPPING=1", *self._status_lines(status))

    def close(self) -> None:
        """Closes the socket. Later calls send nothing."""
        if self._socket is not None:
            self._socket.close()

    def _feed_watchdog(self) -> None:
        """Feeds the watchdog at most twice per period. If there was no room for the message, the next call tries again."""
        if self.watchdog_period_s is None:
            return
        now_s = self._clock.monotonic_s()
        if self._fed_at_s is not None and now_s - self._fed_at_s < self.watchdog_period_s / 2:
            return
        if self._send("WATCHDOG=1", wait=False):
            self._fed_at_s = now_s

    def _send_status(self) -> None:
        """Sends the present status, if the manager has another one and the last one is old enough."""
        if self._status == self._status_sent:
            return
        now_s = self._clock.monotonic_s()
        if self._status_sent_at_s is not None and now_s - self._status_sent_at_s < STATUS_INTERVAL_S:
            return
        if self._send(f"STATUS={self._status}", wait=False):
            self._status_sent, self._status_sent_at_s = self._status, now_s

    def _watchdog_lines(self, period_s: float | None) -> list[str]:
        """The line that sets the watchdog to `period_s`, or to the unit's period if that is longer; none without a watchdog."""
        if self.watchdog_period_s is None or period_s is None:
            return []
        return [f"WATCHDOG_USEC={_usec(max(period_s, self.watchdog_period_s))}"]

    def _status_lines(self, text: str) -> list[str]:
        """The lines that send `text` together with a change of state; none if `text` is empty."""
        if not text:
            return []
        self._status = self._status_sent = _one_line(text)
        self._status_sent_at_s = self._clock.monotonic_s()
        return [f"STATUS={self._status}"]

    def _send(self, *lines: str, wait: bool = True) -> bool:
        """Sends a message. Returns whether it is in the manager's queue.

        Each message has the address again, because the manager may have been re-executed.
        """
        if self._socket is None:
            return False
        message = "\n".join(lines).encode("utf-8", "replace")
        try:
            self._socket.sendto(message, 0 if wait else socket.MSG_DONTWAIT, self._address)
        except OSError:  # no listener, no room, or closed: the manager acts if it hears nothing
            return False
        return True


def _socket_address(address: str) -> bytes:
    """The kernel's form of `address`; empty if it is not a socket that we can send to."""
    if address.startswith("/"):
        return os.fsencode(address)
    if address.startswith("@"):
        return b"\0" + os.fsencode(address[1:])
    return b""


def _datagram_socket() -> socket.socket | None:
    """A socket that is closed on exec, so that no child can send in our name. None if the process may not open one."""
    try:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    except OSError:
        return None
    # Use the kernel's timeout. Python's timeout polls, and a poll always finds an unconnected socket writable, so it would spin.
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_TIMEOUT_S, 0))
    return opened


def _watchdog_period_s(environment: Mapping[str, str], process_id: int) -> float | None:
    """The period that the manager set for this process, or None. A value that is not a positive number counts as None."""
    if environment.get("WATCHDOG_PID", str(process_id)) != str(process_id):
        return None
    microseconds = environment.get("WATCHDOG_USEC", "")
    if not (microseconds.isascii() and microseconds.isdigit() and len(microseconds) <= USEC_DIGITS_MAX):
        return None
    return int(microseconds) / USEC_PER_S or None


def _one_line(text: str) -> str:
    """`text` without line feeds, because each would begin another assignment, and short enough to arrive whole."""
    return " ".join(text.split())[:STATUS_CHARACTERS_MAX]


def _usec(seconds: float) -> int:
    return round(seconds * USEC_PER_S)

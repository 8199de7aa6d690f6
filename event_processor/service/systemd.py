"""What the daemon tells the service manager: that it is ready, what it does, that it still makes progress.

Owns: the notification protocol of systemd (sd_notify(3)): one datagram of `NAME=value` lines to the socket that
`$NOTIFY_SOCKET` names, and the two promises that hang on it, the watchdog and the extension of a time-out.
Always: a call returns within `SEND_TIMEOUT_S` and never raises, since a supervisor that does not listen is no reason to
stop. Without `$NOTIFY_SOCKET` every call does nothing, so that the same program runs in a terminal.
Never: no thread feeds the watchdog. It is fed by the loop that does the work, so that a stalled loop starves it.
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
"""How long a message waits for room in the manager's queue before it is given up."""
STATUS_CHARACTERS_MAX: Final = 500
"""systemd reads at most 4,096 bytes of a datagram; 500 characters are at most 2,000 bytes of UTF-8."""
STATUS_INTERVAL_S: Final = 1.0
"""A status is for people. Each one wakes the manager and whoever listens to it, so it may not follow every commit."""
USEC_PER_S: Final = 1_000_000
USEC_DIGITS_MAX: Final = 20
"""As many as an unsigned 64-bit integer has, which is how the manager holds a time."""


class ServiceNotifier:
    """One service's line to its manager: `extend` until `ready`, then `progress` and `status`, at the end `stopping`.

    `address` is the socket as `$NOTIFY_SOCKET` gives it ("/path", or "@name" in the abstract namespace); "" for none.
    `watchdog_period_s` is the time after which a silent service is killed; None where nobody watches. `clock.monotonic_s`
    must be CLOCK_MONOTONIC, as `time.monotonic` is on Linux: the manager compares it with its own.
    """

    def __init__(self, address: str, *, clock: Clock, watchdog_period_s: float | None = None) -> None:
        self.watchdog_period_s: Final = watchdog_period_s
        self._clock: Final = clock
        self._address: Final = _socket_address(address)
        self._socket: Final = _datagram_socket() if self._address else None
        self._fed_at_s: float | None = None
        self._extended_to_s: float | None = None
        self._status = ""
        self._status_told = ""
        self._status_told_at_s: float | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, process_id: int, clock: Clock) -> Self:
        """As the manager's variables say: `NOTIFY_SOCKET`, and `WATCHDOG_USEC` where `WATCHDOG_PID` is absent or ours."""
        period_s = _watchdog_period_s(environment, process_id)
        return cls(environment.get("NOTIFY_SOCKET", ""), clock=clock, watchdog_period_s=period_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def ready(self, status: str = "") -> None:
        """The service reads its sources: start-up, or a reload, is over. The watchdog counts from here."""
        if self._send("READY=1", *self._status_lines(status)):
            self._fed_at_s = self._clock.monotonic_s()

    def status(self, text: str) -> None:
        """One line for `systemctl status`. Sent once a second at the most; what came in between is told by `progress`, the last of it."""
        self._status = _one_line(text)
        self._tell_status()

    def progress(self) -> None:
        """The loop is alive: it committed, it is idle, or it waits with a deadline for something it can name.

        To be called at least twice per `watchdog_period_s`, and as often as one likes: it costs a reading of the clock,
        and sends at most two messages per period, beside a status that waits. Never from another thread than the loop's own.
        """
        if self._socket is None:
            return
        self._tell_status()
        self._feed_watchdog()

    def extend(self, seconds: float) -> None:
        """Start-up or stop goes on for up to `seconds` from now, whatever the unit's time-out says.

        To be called again within `seconds`, as often as one likes, and only where the work did move on: a recovery
        that hangs shall time out.
        """
        now_s = self._clock.monotonic_s()
        if self._extended_to_s is not None and self._extended_to_s - now_s > seconds / 2:
            return
        if self._send(f"EXTEND_TIMEOUT_USEC={_usec(seconds)}", wait=False):
            self._extended_to_s = now_s + seconds

    def reloading(self) -> None:
        """A reload begins. Whether it is taken or refused, `ready` must follow: until then the manager waits for it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={_usec(self._clock.monotonic_s())}")

    def stopping(self, status: str = "") -> None:
        """The drain before a clean end begins."""
        self._extended_to_s = None  # an extension of the start says nothing about the stop
        self._send("STOPPING=1", *self._status_lines(status))

    def close(self) -> None:
        """Gives the socket back; what is called afterwards is not sent."""
        if self._socket is not None:
            self._socket.close()

    def _feed_watchdog(self) -> None:
        """At most twice per period. A message that found no room counts as not sent, so the next call tries again."""
        if self.watchdog_period_s is None:
            return
        now_s = self._clock.monotonic_s()
        if self._fed_at_s is not None and now_s - self._fed_at_s < self.watchdog_period_s / 2:
            return
        if self._send("WATCHDOG=1", wait=False):
            self._fed_at_s = now_s

    def _tell_status(self) -> None:
        """The present status, if it is another than the manager's and its time has come."""
        if self._status == self._status_told:
            return
        now_s = self._clock.monotonic_s()
        if self._status_told_at_s is not None and now_s - self._status_told_at_s < STATUS_INTERVAL_S:
            return
        if self._send(f"STATUS={self._status}", wait=False):
            self._status_told, self._status_told_at_s = self._status, now_s

    def _status_lines(self, text: str) -> list[str]:
        """The lines that tell `text` together with a change of state; none for an empty one."""
        if not text:
            return []
        self._status = self._status_told = _one_line(text)
        self._status_told_at_s = self._clock.monotonic_s()
        return [f"STATUS={self._status}"]

    def _send(self, *lines: str, wait: bool = True) -> bool:
        """Whether the message is in the manager's queue. Addressed anew each time: the manager may have been re-executed."""
        if self._socket is None:
            return False
        message = "\n".join(lines).encode("utf-8", "replace")
        try:
            self._socket.sendto(message, 0 if wait else socket.MSG_DONTWAIT, self._address)
        except OSError:  # nobody listens, no room, or closed: the manager draws its own conclusion from silence
            return False
        return True


def _socket_address(address: str) -> bytes:
    """What the kernel takes for `address`; empty where it names no socket that we can send to."""
    if address.startswith("/"):
        return os.fsencode(address)
    if address.startswith("@"):
        return b"\0" + os.fsencode(address[1:])
    return b""


def _datagram_socket() -> socket.socket | None:
    """Closed on exec, so that no child can speak for us; None where the process may open no socket."""
    try:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    except OSError:
        return None
    # The kernel's own time-out: a Python one polls, and an unconnected socket always looks writable to that, so it would spin.
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_TIMEOUT_S, 0))
    return opened


def _watchdog_period_s(environment: Mapping[str, str], process_id: int) -> float | None:
    """The period that the manager set for this very process, or None. What is not a positive number sets none."""
    if environment.get("WATCHDOG_PID", str(process_id)) != str(process_id):
        return None
    microseconds = environment.get("WATCHDOG_USEC", "")
    if not (microseconds.isascii() and microseconds.isdigit() and len(microseconds) <= USEC_DIGITS_MAX):
        return None
    return int(microseconds) / USEC_PER_S or None


def _one_line(text: str) -> str:
    """`text` without line feeds, which would begin another assignment, and short enough to arrive whole."""
    return " ".join(text.split())[:STATUS_CHARACTERS_MAX]


def _usec(seconds: float) -> int:
    return round(seconds * USEC_PER_S)

"""The process: daemon, signals, systemd, the log.

Owns: how a pipeline runs for days, stops and reloads.
Always: a signal is followed by a commit, or nothing is lost.
Never: no decision about a record is made here. Open `daemon.py` first.
"""

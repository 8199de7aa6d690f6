"""What reads from and writes to the world: one folder for each technology.

Owns: nothing itself.
Always: the rest of the program knows a connector by its contract in `model/` alone; only `assembly/` imports one.
Never: one connector imports another. Open `files/connector.py` first.
"""

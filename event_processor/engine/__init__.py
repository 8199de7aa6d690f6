"""The engine: loop, step, commit, checkpoint, state.

Owns: in which order a record is read, decided, written and committed.
Always: a checkpoint never covers an event whose outcome is not durable.
Never: no connector is imported; the engine knows them by their contract. Open `step.py` first, then `commit.py`.
"""

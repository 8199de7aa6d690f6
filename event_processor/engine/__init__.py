"""The engine: loop, step, commit, checkpoint, state.

Owns: the order in which a record is read, decided, written and committed.
Always: a checkpoint never covers an event whose outcome is not durable.
Never: imports a connector; the engine knows connectors by their contract. Open `step.py` first, then `commit.py`.
"""

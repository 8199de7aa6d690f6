"""The nouns and contracts that every other room speaks.

Owns: errors and exit codes, events and chunks, columns, rejections, the contracts of sources, formats and sinks, clock and telemetry.
Always: values are frozen; nothing here reads or writes anything.
Never: a room above is imported, nor `kernels/`. Open `contracts.py` first.
"""

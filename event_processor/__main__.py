"""`python -m event_processor` is `event-processor`."""

from __future__ import annotations

from event_processor.cli import main

if __name__ == "__main__":
    main()

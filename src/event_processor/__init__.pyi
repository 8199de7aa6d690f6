from event_processor.contracts import Format as Format
from event_processor.contracts import Sink as Sink
from event_processor.contracts import Source as Source
from event_processor.library import build as build
from event_processor.library import load as load
from event_processor.library import run as run

__version__: str
__all__ = ["Format", "Sink", "Source", "__version__", "build", "load", "run"]

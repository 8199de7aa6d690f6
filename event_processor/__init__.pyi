from event_processor.assembly.library import build as build
from event_processor.assembly.library import load as load
from event_processor.assembly.library import run as run
from event_processor.model.contracts import Format as Format
from event_processor.model.contracts import Sink as Sink
from event_processor.model.contracts import Source as Source

__version__: str
__all__ = ["Format", "Sink", "Source", "__version__", "build", "load", "run"]

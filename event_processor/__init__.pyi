from event_processor.assembly.library import build as build
from event_processor.assembly.library import load as load
from event_processor.assembly.library import run as run
from event_processor.model.connector import Connector as Connector
from event_processor.model.connector import PastGeneration as PastGeneration
from event_processor.model.connector import Piece as Piece
from event_processor.model.connector import SinkContext as SinkContext
from event_processor.model.connector import SourceContext as SourceContext
from event_processor.model.connector import World as World
from event_processor.model.contracts import Format as Format
from event_processor.model.contracts import Sink as Sink
from event_processor.model.contracts import Source as Source
from event_processor.model.event import Chunk as Chunk
from event_processor.model.event import Json as Json
from event_processor.model.options import ConfiguredPath as ConfiguredPath
from event_processor.model.options import SinkOptions as SinkOptions
from event_processor.model.options import SourceOptions as SourceOptions
from event_processor.model.released import Released as Released

__version__: str
__all__ = [
    "Chunk",
    "ConfiguredPath",
    "Connector",
    "Format",
    "Json",
    "PastGeneration",
    "Piece",
    "Released",
    "Sink",
    "SinkContext",
    "SinkOptions",
    "Source",
    "SourceContext",
    "SourceOptions",
    "World",
    "__version__",
    "build",
    "load",
    "run",
]

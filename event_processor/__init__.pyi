from event_processor.assembly.library import Pipeline as Pipeline
from event_processor.assembly.library import build as build
from event_processor.assembly.library import load as load
from event_processor.assembly.library import post as post
from event_processor.assembly.library import run as run
from event_processor.model.connector import CommittedFile as CommittedFile
from event_processor.model.connector import CommittedOutput as CommittedOutput
from event_processor.model.connector import Connector as Connector
from event_processor.model.connector import Difference as Difference
from event_processor.model.connector import Guarantee as Guarantee
from event_processor.model.connector import PastGeneration as PastGeneration
from event_processor.model.connector import Piece as Piece
from event_processor.model.connector import SinkContext as SinkContext
from event_processor.model.connector import SinkVerification as SinkVerification
from event_processor.model.connector import SourceContext as SourceContext
from event_processor.model.connector import World as World
from event_processor.model.contracts import Format as Format
from event_processor.model.contracts import Sink as Sink
from event_processor.model.contracts import Source as Source
from event_processor.model.delivery import Bad as Bad
from event_processor.model.delivery import Wait as Wait
from event_processor.model.discarding_sink import DiscardingSink as DiscardingSink
from event_processor.model.errors import ConfigurationError as ConfigurationError
from event_processor.model.errors import LockedError as LockedError
from event_processor.model.errors import StateError as StateError
from event_processor.model.errors import StorageError as StorageError
from event_processor.model.event import Chunk as Chunk
from event_processor.model.event import Json as Json
from event_processor.model.losses import Loss as Loss
from event_processor.model.options import ConfiguredPath as ConfiguredPath
from event_processor.model.options import SinkOptions as SinkOptions
from event_processor.model.options import SourceOptions as SourceOptions
from event_processor.model.probes import Finding as Finding
from event_processor.model.probes import ProbeContext as ProbeContext
from event_processor.model.released import Released as Released

__version__: str
__all__ = [
    "Bad",
    "Chunk",
    "CommittedFile",
    "CommittedOutput",
    "ConfigurationError",
    "ConfiguredPath",
    "Connector",
    "Difference",
    "DiscardingSink",
    "Finding",
    "Format",
    "Guarantee",
    "Json",
    "LockedError",
    "Loss",
    "PastGeneration",
    "Piece",
    "Pipeline",
    "ProbeContext",
    "Released",
    "Sink",
    "SinkContext",
    "SinkOptions",
    "SinkVerification",
    "Source",
    "SourceContext",
    "SourceOptions",
    "StateError",
    "StorageError",
    "Wait",
    "World",
    "__version__",
    "build",
    "load",
    "post",
    "run",
]

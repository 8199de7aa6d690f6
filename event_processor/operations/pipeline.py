"""What a pipeline is called, and what it consists of: for people who look at it from outside.

Owns: the keys of the document.
Always: comes from the configuration alone. Says nothing that could be a secret: names, kinds, and the paths of sources as they were written.
Never: reads a file.
"""

from __future__ import annotations

from event_processor import __version__
from event_processor.assembly import guarantees
from event_processor.configuration.configuration import Configuration
from event_processor.model.options import ConfiguredPath

__all__ = ["pipeline_document"]


def pipeline_document(configuration: Configuration) -> dict[str, object]:
    """Name, version, sources, and sinks with what each guarantees. Raises `ConfigurationError` if a connector cannot be loaded."""
    promised = guarantees(configuration)
    paths = {name: getattr(options, "path", None) for name, options in configuration.sources.items()}
    return {
        "name": configuration.state.name,
        "version": __version__,
        "sources": [
            {"name": name, "type": options.type, "path": path.written if isinstance(path := paths[name], ConfiguredPath) else ""}
            for name, options in configuration.sources.items()
        ],
        "sinks": [
            {
                "name": name,
                "type": options.type,
                "input": options.input,
                "guarantee": promised[name].words,
                "by": promised[name].by,
            }
            for name, options in configuration.sinks.items()
        ],
    }

"""Which pipeline and which input a job may have: only what is inside the configured folders.

Owns: how a pipeline's name, its parameters and an input become arguments of a process; what is refused.
Always: a path is resolved, links included, and must then be inside one of the folders. It is checked again at each start of a process.
Never: reads a record.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Final

from event_processor.assembly import CONNECTOR_OPTIONS, Environment
from event_processor.configuration import ConfigurationFaultsError, ConfigurationRequest, load_configuration, toml_value
from event_processor.configuration.configuration import NAME_PATTERN, JobsOptions
from event_processor.service.jobs.job import JobInput, JobRequest, ParameterValues, RefusedError
from event_processor.service.jobs.uploads import UploadStore
from event_processor.storage.durable import storage_call

__all__ = ["JobInputs"]

TEXT_CHARACTERS_MAX: Final = 1024
VALUES_MAX: Final = 100
_URL_CHARACTERS: Final = re.compile(r"[!-~]{1,1024}")


class JobInputs:
    """The pipelines and the inputs of one configuration. Used by several threads."""

    def __init__(
        self, options: JobsOptions, environment: Environment, variables: Mapping[str, str], uploads: UploadStore
    ) -> None:
        """`variables`: the environment, for the pipelines' files."""
        self._options: Final = options
        self._fs: Final = environment.fs
        self._variables: Final = variables
        self._uploads: Final = uploads

    def pipelines(self) -> Sequence[str]:
        """The names of the pipelines. Raises `StorageError`."""
        folder = os.path.realpath(str(self._options.pipelines_dir))
        with storage_call("list", folder):
            stems = [name.removesuffix(".toml") for name in self._fs.names(folder) if name.endswith(".toml")]
        return [stem for stem in stems if self._is_pipeline(stem, folder)]

    def pipeline_file(self, name: str) -> str:
        """The file of a pipeline. Raises `RefusedError`."""
        folder = os.path.realpath(str(self._options.pipelines_dir))
        path = os.path.join(folder, f"{name}.toml")
        if self._is_pipeline(name, folder):
            return path
        raise RefusedError("missing", f"no such pipeline: {name[:64]!r}", f"known: {', '.join(self.pipelines()) or 'none'}")

    def overrides(self, request: JobRequest) -> Sequence[str]:
        """The parameters as arguments of `--set`, if the pipeline allows them and is valid with them. Raises `RefusedError`."""
        path = self.pipeline_file(request.pipeline)
        _require_plain(request.parameters)
        given = {key: (_as_of_a_file(value), f"the parameter {key}") for key, value in request.parameters.items()}
        allowed = self._loaded(path, {})
        if wrong := allowed.refused(request.parameters):
            known = ", ".join(allowed.parameters) or "none"
            raise RefusedError(
                "invalid", f"the pipeline {request.pipeline} does not let a request set {wrong[:100]!r}", f"it allows: {known}"
            )
        self._loaded(path, given)
        return [f"{key}={toml_value(value)}" for key, (value, _) in given.items()]

    def argument(self, given: JobInput) -> str:
        """The input as an argument of the process. Raises `RefusedError`."""
        if sum(map(bool, (given.upload, given.path, given.url))) != 1:
            raise RefusedError("invalid", "the input is not one of upload, path and url", 'such as {"path": "events.jsonl"}')
        if given.upload:
            return self._uploads.content(given.upload)
        return self._file(given.path) if given.path else self._url(given.url)

    def arriving(self, given: JobInput) -> str:
        """The file that says how much of the input counts; empty if it is no upload."""
        return self._uploads.document(given.upload) if given.upload else ""

    def require_unmoved(self, given: JobInput, argument: str) -> None:
        """Raises `RefusedError` if the input is not what it was when the job was submitted: a link may lead elsewhere now."""
        if self.argument(given) != argument:
            raise RefusedError("invalid", "the path of the input leads elsewhere now", "submit the job again")

    def is_away(self, argument: str) -> bool:
        """Whether a folder that is needed for this input cannot be reached now, so that a refusal says nothing about the input.

        An empty folder counts: without its disk, a mount point is one.
        """
        folders = [str(self._options.pipelines_dir)]
        of_inputs = map(str, self._options.input_dirs)
        folders += [folder for folder in of_inputs if argument.startswith(f"{os.path.realpath(folder)}/")]
        try:
            if len(folders) > 1:
                # A file that is missing is no error, one that cannot be looked at is.
                self._fs.status(argument)
            return not all(map(self._fs.names, folders))
        except OSError:
            return True

    def _file(self, path: str) -> str:
        parts = path.split("/")
        if "\0" in path or ".." in parts or len(path) > TEXT_CHARACTERS_MAX:
            raise _outside(path)
        for folder in map(str, self._options.input_dirs):
            inside = os.path.realpath(folder)
            found = os.path.realpath(os.path.join(inside, path))
            if path.startswith("/") and not path.startswith(f"{folder}/") and not path.startswith(f"{inside}/"):
                continue
            if self._is_file_within(found, inside):
                return found
        raise _outside(path)

    def _url(self, url: str) -> str:
        if ".." in url.split("/") or not _URL_CHARACTERS.fullmatch(url) or not url.startswith(self._options.input_urls):
            allowed = ", ".join(self._options.input_urls) or "none"
            raise RefusedError("invalid", "this URL may not be read", f"jobs.input_urls allows: {allowed}")
        return url

    def _is_pipeline(self, name: str, folder: str) -> bool:
        return re.fullmatch(NAME_PATTERN, name) is not None and self._is_file_within(os.path.join(folder, f"{name}.toml"), folder)

    def _is_file_within(self, path: str, folder: str) -> bool:
        """Whether `path`, links followed, is a regular file inside `folder`, which is resolved."""
        if not os.path.realpath(path).startswith(f"{folder.rstrip('/')}/"):
            return False
        try:
            status = self._fs.status(path)
        except (OSError, ValueError):
            return False
        return status is not None and status.is_regular

    def _loaded(self, path: str, given: Mapping[str, tuple[object, str]]) -> JobsOptions:
        request = ConfigurationRequest(
            working_directory=os.path.dirname(path),
            environment=_of_pipelines(self._variables),
            config_paths=(path,),
            overrides=given,
        )
        try:
            return load_configuration(request, CONNECTOR_OPTIONS).configuration.jobs
        except ConfigurationFaultsError as error:
            if given:
                raise RefusedError("invalid", f"the pipeline is not valid with these parameters: {error.message}") from error
            raise RefusedError(
                "invalid", "the pipeline is not valid", f"an operator must look: event-processor --config {path} validate"
            ) from error


def _require_plain(parameters: ParameterValues) -> None:
    """Raises `RefusedError` for a value that could read the environment, or that is very long."""
    for key, value in parameters.items():
        values = value if isinstance(value, list) else [value]
        if len(values) > VALUES_MAX or any(isinstance(each, str) and _is_special(each) for each in values):
            words = f"the parameter {key[:100]!r} has a text that is too long, or with ${{…}}"
            raise RefusedError("invalid", words, "a request cannot read the environment")


def _is_special(text: str) -> bool:
    return "${" in text or len(text) > TEXT_CHARACTERS_MAX or not text.isprintable()


def _as_of_a_file(value: object) -> object:
    """Arrays of a configuration are tuples."""
    return tuple(value) if isinstance(value, list) else value


def _of_pipelines(variables: Mapping[str, str]) -> Mapping[str, str]:
    """The environment without what names another configuration or another state."""
    return {name: value for name, value in variables.items() if name not in ("EVENT_PROCESSOR_CONFIG", "STATE_DIRECTORY")}


def _outside(path: str) -> RefusedError:
    # Whether there is such a file elsewhere is not told.
    return RefusedError("invalid", f"no file of jobs.input_dirs: {path[:100]!r}", "name a file below one of these folders")

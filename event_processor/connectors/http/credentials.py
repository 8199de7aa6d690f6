"""The secrets of a service: its token, and the certificates of its connections.

Owns: `Credentials`, which reads them from the places that the configuration names.
Always: a secret that cannot be read is a `CredentialsError` with the place. Its words never have the value.
Never: keeps a secret after it was read.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from event_processor.model.errors import StorageError
from event_processor.model.file_system import FileSystem
from event_processor.model.options import SecretPath
from event_processor.model.remote import ServiceOptions
from event_processor.storage.durable import read_file

__all__ = ["Credentials", "CredentialsError"]

_TOKEN: Final = re.compile(r"[!-~]+")


class CredentialsError(Exception):
    """A secret is missing or cannot be used. The message says where, and what to do."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where the secrets of a service are. `environment`: None for that of the process."""

    service: ServiceOptions
    fs: FileSystem
    environment: Mapping[str, str] | None = None

    def token(self) -> str:
        """The token; empty if the service has none. Raises `CredentialsError`."""
        name = self.service.token_env
        if (path := self._path("token_file", self.service.token_file)) is not None:
            try:
                content = read_file(self.fs, path)
            except StorageError as error:
                raise CredentialsError(f"token_file: {error.message}") from error
            if content is None:
                raise CredentialsError(f"token_file: {path} does not exist")
            return _sound(content.decode("utf-8", "replace").strip(), f"token_file: {path}")
        if name is not None:
            text = self._variables.get(name)
            if text is None:
                raise CredentialsError(f"token_env: the environment has no variable {name}")
            return _sound(text.strip(), f"token_env: the variable {name}")
        return ""

    def tls(self) -> ssl.SSLContext | None:
        """How connections are protected; None for a service without https. Raises `CredentialsError`."""
        if not (self.service.base_url or "").lower().startswith("https:"):
            return None
        tls = self.service.tls
        ca_file = self._path("tls.ca_file", tls.ca_file)
        cert_file, key_file = self._path("tls.cert_file", tls.cert_file), self._path("tls.key_file", tls.key_file)
        try:
            context = ssl.create_default_context(cafile=ca_file)
        except (OSError, ValueError) as error:
            raise CredentialsError(f"tls.ca_file: {ca_file} cannot be used: {_reason(error)}") from error
        if cert_file is not None:
            try:
                # Without a password, OpenSSL would ask for one on the terminal.
                context.load_cert_chain(cert_file, key_file, password="")
            except (OSError, ValueError) as error:
                files = " and ".join(each for each in (cert_file, key_file) if each)
                raise CredentialsError(f"tls.cert_file: {files} cannot be used: {_reason(error)}") from error
        return context

    @property
    def _variables(self) -> Mapping[str, str]:
        return os.environ if self.environment is None else self.environment

    def _path(self, key: str, path: SecretPath | None) -> str | None:
        try:
            return path.in_environment(self._variables) if path is not None else None
        except KeyError as error:
            raise CredentialsError(f"{key}: {path}: the environment has no variable {error.args[0]}") from error


def _sound(token: str, place: str) -> str:
    if not token:
        raise CredentialsError(f"{place} is empty")
    if not _TOKEN.fullmatch(token):
        raise CredentialsError(f"{place} holds a space, a line end or another character that a header cannot have")
    return token


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
    return str(reason or type(error).__name__)

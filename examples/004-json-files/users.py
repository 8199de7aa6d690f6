"""What a user must be in a document, before anything is made of it.

Owns: the schema of the input. That of the output is what `keep` says in `event-processor.toml`.
Never: nothing is changed here, and no value is guessed: "yes" is no boolean, and 7 is no id.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel


class _InDocuments(BaseModel):
    """Names are those of the documents, `otherMails`, and a value is of its type or refused."""

    model_config = ConfigDict(strict=True, alias_generator=to_camel)


class SignInActivity(_InDocuments):
    """When a user signed in last, by the way in which."""

    last_sign_in_date_time: str | None = None
    last_sign_in_request_id: str | None = None
    last_non_interactive_sign_in_date_time: str | None = None
    last_non_interactive_sign_in_request_id: str | None = None
    last_successful_sign_in_date_time: str | None = None
    last_successful_sign_in_request_id: str | None = None


class User(_InDocuments):
    """A user as Microsoft Graph writes one. What else stands in it may be anything."""

    id: str = Field(min_length=1)
    user_principal_name: str | None = None
    usage_location: str | None = None
    mail: str | None = None
    account_enabled: bool | None = None
    mobile_phone: str | None = None
    user_type: str | None = None
    given_name: str | None = None
    surname: str | None = None
    other_mails: list[str] | None = None
    sign_in_activity: SignInActivity | None = None


class Schema:
    """A transform that changes nothing: users pass as they are, and of any other record it says what is wrong with it."""

    def __init__(self, options: dict[str, object]) -> None:
        """`options` is empty: there is nothing to choose."""

    def transform(self, events: Sequence[dict[str, object]]) -> list[dict[str, object] | str]:
        """Each event as it is, or why it is no user."""
        return [_refusal(event) or event for event in events]


def _refusal(event: dict[str, object]) -> str:
    """The first thing that is wrong with it; empty where nothing is."""
    try:
        User.model_validate(event)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        name = ".".join(map(str, fault["loc"]))
        given = "" if fault["type"] == "missing" else f": {fault['input']!r:.80}"
        return f'"{name}": {fault["msg"]}{given}'
    return ""

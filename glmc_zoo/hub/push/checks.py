"""What is checked before anything changes on the Hub: name, login, files and card; and why the Hub refused a push."""

import re
from typing import Any

from glmc_zoo.errors import UserError
from glmc_zoo.hub.folder import as_user_error, one_line
from glmc_zoo.retry import ANSWER_SECONDS, call_with_timeout, http_status, is_transient, unexpected_answer


def check_repo_id(repo_id: str, name: str = "repo") -> None:
    """Refuse what is not ``ORG/NAME`` or has characters that the Hub does not accept, by the option's ``name``."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    sentence = f"{name}={repo_id!r} is not a repository: give ORG/NAME, of letters, digits, '-', '_' and '.'."
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UserError(sentence) from error
    if "/" not in repo_id:
        raise UserError(sentence)


def check_token_set(repo_id: str) -> None:
    """Refuse a push to ``repo_id`` without a token that can be sent; does not use the network."""
    from huggingface_hub import get_token

    token = get_token()
    if token is None:
        raise UserError(f"Nobody is logged in to push to {repo_id}: run `hf auth login`, or set HF_TOKEN.")
    if not re.fullmatch(r"[!-~]+", token):
        # An HTTP library would complain about the header, and show it.
        raise UserError("The token has characters that no token has: run `hf auth login` again, or set HF_TOKEN anew.")


def check_login() -> None:
    """Refuse a token that may only read or is not accepted; a Hub that cannot be reached now may be so later."""
    from huggingface_hub import HfApi

    try:
        call_with_timeout(ANSWER_SECONDS, lambda: check_token(HfApi(library_name="glmc_zoo")))
    except Exception as error:  # the client also raises errors of its HTTP library
        if isinstance(error, UserError) or http_status(error) == 401:
            raise UserError(failure_reason(error, "")) from error


def check_token(api: Any) -> None:
    """Refuse a token that may only read; raises what the client raises when the Hub does not answer."""
    access = (api.whoami().get("auth") or {}).get("accessToken") or {}
    if access.get("role") == "read":
        raise UserError(
            "The token may only read: make one that may write at https://huggingface.co/settings/tokens, then run"
            " `hf auth login` again or set HF_TOKEN."
        )


def check_card(text: str, *, scored: bool = True) -> None:
    """Refuse a model card (the text of ``README.md``) whose front matter lacks what the Hub and timm need.

    ``model-index`` is required of classifiers that are ``scored``; one that was converted, or trained without a test
    split, is not.
    """
    import yaml
    from huggingface_hub import ModelCard

    if not text.startswith("---"):
        raise UserError("The model card has no front matter: render it from results.json (render_card).")
    failures = (ValueError, LookupError, TypeError, AttributeError, RecursionError, yaml.YAMLError)
    with as_user_error("The model card's front matter is not valid", *failures, fix="Render it anew."):
        data: dict[str, Any] = ModelCard(text).data.to_dict()  # type: ignore[no-untyped-call]
    required = ["library_name", "pipeline_tag", "tags", "license"]
    if scored and data.get("pipeline_tag") == "image-classification":
        required.append("model-index")
    missing = [key for key in required if not data.get(key)]
    if missing:
        raise UserError(f"The model card's front matter lacks {', '.join(missing)}: render it from results.json.")
    if data["library_name"] != "timm":
        raise UserError(f"The model card has library_name {data['library_name']!r}: it must be timm.")


def failure_reason(error: Exception, repo_id: str) -> str:
    """Why a request failed, in one sentence that holds no token."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError

    if isinstance(error, UserError):
        return error.sentence
    status = http_status(error)
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so the Hub cannot be reached: unset it."
    if isinstance(error, GatedRepoError):
        return f"{repo_id} is gated and this login has no access: ask for access on its page."
    if status == 401 and not isinstance(error, RepositoryNotFoundError):
        return "The Hub does not accept the token: run `hf auth login` again, or set HF_TOKEN to one that is valid."
    if status in (401, 403, 404):
        reason = one_line(Exception(getattr(error, "server_message", None) or f"status {status}"))[:-1]
        return f"This login may not write to {repo_id}, or cannot see it ({reason}): check the name and the login."
    if (unexpected := unexpected_answer(error)) is not None:
        return unexpected
    if is_transient(error):
        cause = f"status {status}" if status is not None else one_line(error)[:-1]
        return f"The Hub could not be reached or is out of order ({cause})."
    text, token = one_line(error), get_token()
    return text.replace(token, "TOKEN") if token else text

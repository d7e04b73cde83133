"""A transformer's configuration, with the target's values in it."""

from __future__ import annotations

from typing import Any

from autobatch.errors import SettingsError, WorkloadError, message_of
from autobatch.workload.catalogues.values import name_near, parse_overrides
from autobatch.workload.files import Target

_CLASS_VARIABLES = ("model_type", "transformers_version", "architectures")


def make_configuration(
    target: Target, model_type: str, overrides: dict[str, str]
) -> tuple[Any, str]:
    """The library's configuration of a model type, with some values changed.

    Returns:
        The configuration, and a sentence on what had to be changed with them, or nothing.

    Raises:
        WorkloadError: If there is no such model type, or the library refuses the values.
        SettingsError: If a key is unknown or a value of the wrong kind.
    """
    from transformers import CONFIG_MAPPING

    if model_type not in CONFIG_MAPPING:
        near = name_near(model_type, CONFIG_MAPPING)
        raise WorkloadError(
            f"target {target.text!r}: transformers has no model type {model_type!r}",
            hint=f"did you mean {near}?" if near else "name a model type, such as hf:gpt2",
        )
    config_class = CONFIG_MAPPING[model_type]
    try:
        plain = config_class()
        own = _readable_values(plain)
        values = parse_overrides(overrides, own, owner=config_class.__name__)
        heads = _choose_heads(plain, own, values)
        guess = ""
        if heads:
            number = heads["num_attention_heads"]
            guess = f"{number} attention head{'s' if number > 1 else ''}, which the width asks for"
        return config_class(**values, **heads), guess
    except SettingsError:
        raise
    except Exception as error:
        given = ", ".join(f"{key}={value}" for key, value in overrides.items())
        reason = " ".join(message_of(error).split())
        raise WorkloadError(
            f"target {target.text!r}: {config_class.__name__} cannot be made"
            f"{' with ' if given else ''}{given}: {reason}",
            hint="change or leave out the value that it names",
        ) from error


def _readable_values(config: Any) -> dict[str, Any]:
    """The configuration's values, by each of the names that it knows them under."""
    own = config.to_dict()
    aliases = {alias: own[key] for alias, key in config.attribute_map.items() if key in own}
    values = {**own, **aliases, "num_labels": config.num_labels}
    return {
        key: value
        for key, value in values.items()
        if key not in _CLASS_VARIABLES and not key.startswith("_")
    }


def _choose_heads(config: Any, own: dict[str, Any], values: dict[str, Any]) -> dict[str, int]:
    """Heads of the usual width for another hidden size, where the usual number does not divide it.

    Left alone if the user set either, or the width of a head is given by itself.
    """
    given = {config.attribute_map.get(key, key): value for key, value in values.items()}
    names = ("num_attention_heads", "num_key_value_heads", "head_dim")
    if any(config.attribute_map.get(name, name) in given for name in names):
        return {}
    width = given.get(config.attribute_map.get("hidden_size", "hidden_size"))
    own_width, own_heads = own.get("hidden_size"), own.get("num_attention_heads")
    if not isinstance(own_heads, int) or not isinstance(own_width, int) or not own_heads:
        return {}
    if not width or width % own_heads == 0 or own.get("head_dim"):
        return {}
    usual = max(1, width // max(1, own_width // own_heads))
    number = next(n for n in range(usual, 0, -1) if width % n == 0)
    heads = {"num_attention_heads": number}
    return heads | ({"num_key_value_heads": number} if own.get("num_key_value_heads") else {})

"""The YAML documents of deployment files, read within bounds and checked for their form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hangtag.optional import require

MAX_VALUES = 1_000_000
"""Values of a file once its aliases are followed: a few lines of aliases of aliases stand for billions."""

_LISTS = {"mapping": dict, "list": list, "text": str}
_FORMS = {
    "environment": ("mapping", "list"),
    "env_file": ("text", "list", "mapping"),
    "volumes": ("list",),
    "ports": ("list",),
    "command": ("text", "list"),
    "entrypoint": ("text", "list"),
    "deploy": ("mapping",),
    "healthcheck": ("mapping",),
    "tmpfs": ("text", "list"),
}
"""Parts of a compose service, and what they may be."""


def read_documents(text: str) -> list[dict[str, Any]]:
    """The mappings in a YAML file; the items of Kubernetes lists one by one. Raises ValueError."""
    yaml = require("yaml", extra="serving", what="hangtag doctor on YAML")

    class Loader(yaml.SafeLoader):  # type: ignore[misc,name-defined]
        """Reads compose's own tags, !reset and !override, as the values they stand before."""

    def plain(loader: Any, _tag: str, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_yaml_null(node) if node.value in ("", "null") else node.value

    Loader.add_multi_constructor("!", plain)
    try:
        documents = list(yaml.load_all(text, Loader=Loader))
        if _values(documents, {}) > MAX_VALUES:
            raise ValueError(f"it has more than {MAX_VALUES:,} values once its aliases are followed")
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply, or refers to itself") from error
    found = []
    for document in documents:
        items = document.get("items") if isinstance(document, dict) and document.get("kind") == "List" else None
        found += items if isinstance(items, list) else [document]
    return [document for document in found if isinstance(document, dict)]


def _values(value: Any, known: dict[int, int]) -> int:
    """How many values `value` has, each as often as aliases repeat it."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        parts = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_values(part, known) for part in parts)
    return known[id(value)]


def check_services(services: Any) -> None:
    """Raise ValueError, with the first part of the services of a compose file that has another form than it must."""
    _check(services, "services", ("mapping",))
    for name, service in (services or {}).items():
        _check(service, f"services.{name}", ("mapping",))
        for part, forms in _FORMS.items():
            _check((service or {}).get(part), f"services.{name}.{part}", forms)


def _check(value: Any, what: str, forms: tuple[str, ...]) -> None:
    if value is not None and not any(isinstance(value, _LISTS[form]) for form in forms):
        raise ValueError(f"{what} is {value!r:.60}, where a {' or a '.join(forms)} belongs")


def has_image(image: str, name: str) -> bool:
    """Whether `image` is this one, from any registry or mirror, of any tag.

    >>> has_image("mirror.example.com:5000/tensorflow/serving:2.20.0", "tensorflow/serving")
    True
    """
    repository = image.partition("@")[0]
    if ":" in repository.rpartition("/")[2]:
        repository = repository.rpartition(":")[0]
    return repository == name or repository.endswith(f"/{name}")


def is_mutable(image: str) -> bool:
    """Whether the image that this names may be another tomorrow.

    >>> is_mutable("tensorflow/serving:latest-gpu"), is_mutable("tensorflow/serving:2.20.0")
    (True, False)
    """
    tag = image.rpartition("/")[2].partition(":")[2]
    return "@" not in image and (not tag or tag.startswith(("latest", "nightly")))


def merged_environment(service: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, str]:
    """The variables of a service: those of its files, replaced by its own."""
    own = service.get("environment") or {}
    if isinstance(own, list):
        own = dict(str(line).partition("=")[::2] for line in own)
    return {**files, **{name: str(value) for name, value in own.items() if value is not None}}

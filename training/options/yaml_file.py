"""Options files in YAML."""

import os
import re
from typing import Any

import yaml

from dnnlib import installed
from dnnlib.errors import UserError, printable

_MOST_TEXT = 100_000  # characters
_MOST_ITEMS = 10_000


class _Loader(yaml.SafeLoader):
    """YAML where 1e-8 is a number, and a key that comes twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = set()
        for part, _ in node.value:
            key = self.construct_object(part, deep=True)
            if key in keys:
                problem = f"{printable(str(key))} comes twice"
                raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
            keys.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _check_size(content: Any) -> None:
    """Raises ValueError for more items than options have. Names for parts make a small file as large as one likes."""
    parts, count = [content], 0
    while parts:
        part = parts.pop()
        inside = list(part.values()) if isinstance(part, dict) else part if isinstance(part, list) else []
        count += len(inside)
        if count > _MOST_ITEMS:
            raise ValueError(f"has more than {_MOST_ITEMS} items")
        parts += inside


def read_yaml(path: str) -> dict[str, Any]:
    """The options in a YAML file. Raises UserError with the line of what is wrong."""
    try:
        with open(installed.find(os.path.expanduser(path)), encoding="utf-8") as file:
            text = file.read(_MOST_TEXT + 1)
        if len(text) > _MOST_TEXT:
            raise ValueError(f"has more than {_MOST_TEXT} characters")
        content = yaml.load(text, _Loader)  # a SafeLoader
        _check_size(content)
    except OSError as error:
        raise UserError(f"--options={path}: {error.strerror}") from None
    except Exception as error:  # besides YAMLError: dates and numbers that are none, keys that are lists
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise UserError(
            f"--options={path}{place}: {printable(str(getattr(error, 'problem', None) or error))}"
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"--options={path}: expected lines such as `gamma: 10`, got a {type(content).__name__}")
    return content

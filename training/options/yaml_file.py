"""Options files in YAML."""

import os
import re
from typing import Any

import yaml

from dnnlib.errors import UserError


class _Loader(yaml.SafeLoader):
    """YAML where 1e-8 is a number, and a key that comes twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]} comes twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(path: str) -> dict[str, Any]:
    """The options in a YAML file. Raises UserError with the line of what is wrong."""
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as file:
            content = yaml.load(file, _Loader)  # a SafeLoader
    except OSError as error:
        raise UserError(f"--options={path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, TypeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"--options={path}{place}: {getattr(error, 'problem', None) or error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"--options={path}: expected lines such as `gamma: 10`, got a {type(content).__name__}")
    return content

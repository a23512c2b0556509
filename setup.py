"""What goes into the wheel: found here, while pyproject.toml has all else."""

import runpy
from pathlib import Path

from setuptools import find_namespace_packages, setup

NOT_INSTALLED = {"tools"}
DATA = {"stylegan2.demo": "demo", "stylegan2.configs": "configs"}  # package: folder
ROOMS = {path.parent.name for path in Path().glob("*/__init__.py")} - NOT_INSTALLED

setup(
    version=runpy.run_path("dnnlib/installed.py")["version"](),
    py_modules=sorted({path.stem for path in Path().glob("*.py")} - {"setup"}),
    packages=[
        *find_namespace_packages(include=[*ROOMS, *(f"{room}.*" for room in ROOMS)], exclude=["*__pycache__*"]),
        *DATA,
    ],
    package_dir=DATA,
    package_data={"": ["*"]},  # all that lies in these folders: sources of kernels, networks, pages
)

"""Refuses names that the registry or PyPI would refuse later."""

import re
import sys

BACKEND = "{{ cookiecutter.backend }}"
DISTRIBUTION = "{{ cookiecutter.distribution }}"
PACKAGE = "{{ cookiecutter.package }}"
TAKEN = {"file", "memory", "mongo", "mongodb", "postgres", "postgresql", "redis", "rediss", "sqlite"}

if not re.fullmatch(r"[a-z][a-z0-9-]*", BACKEND):
    sys.exit(f"backend {BACKEND!r}: use lower-case letters, digits and -, beginning with a letter")
if BACKEND in TAKEN:
    sys.exit(
        f"backend {BACKEND!r} belongs to a first-party backend; a name is claimed by one distribution only"
    )
if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", DISTRIBUTION):
    sys.exit(f"distribution {DISTRIBUTION!r} is no name for PyPI in lower case")
if not PACKAGE.isidentifier():
    sys.exit(f"package {PACKAGE!r} cannot be imported: it is no Python identifier")

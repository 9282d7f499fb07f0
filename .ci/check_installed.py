"""Check one installed distribution, in the environment where it stands alone: ``check_installed.py NAME``.

Every package and module at its top can be imported and each of its entry points loads, so that a requirement
which its metadata forgets to name shows here.
"""

import sys
from importlib import import_module
from importlib.metadata import Distribution, distribution


def top_level_names(installed: Distribution) -> set[str]:
    """What the distribution lets people import: its packages, and modules in a folder that is no package."""
    files = [file for file in installed.files or [] if not file.parts[0].endswith(".dist-info")]
    packages = {file.parts[0] for file in files if file.parts[1:] == ("__init__.py",)}
    modules = {
        ".".join(file.with_suffix("").parts)
        for file in files
        if file.suffix == ".py" and len(file.parts) == 2 and file.parts[0] not in packages
    }
    return packages | modules


def main(name: str) -> int:
    """Import all that the distribution ``name`` offers; a failure shows itself as the traceback it is."""
    installed = distribution(name)
    names = top_level_names(installed)
    if not names:
        print(f"{name}: has nothing to import")
        return 1
    for module in sorted(names):
        import_module(module)
    points = list(installed.entry_points)
    for point in points:
        point.load()
    print(f"{name} {installed.version}: imports {', '.join(sorted(names))}; {len(points)} entry points load")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

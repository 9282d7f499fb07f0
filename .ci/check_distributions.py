"""Check the files inside built distributions: ``check_distributions.py DIST MEMBER...``.

A wheel holds the sources of its distribution whole and nothing else, with ``py.typed`` and LICENSE; no file
belongs to two wheels; an sdist brings its tests, LICENSE and CHANGELOG along.
"""

import sys
import tarfile
import tomllib
import zipfile
from collections import defaultdict
from pathlib import Path


def faults(member: Path, dist: Path, owners: dict[str, list[str]]) -> list[str]:
    """What is wrong with the wheel and sdist of the folder ``member``; notes their files in ``owners``."""
    name = str(tomllib.loads((member / "pyproject.toml").read_text())["project"]["name"])
    wheels = sorted(dist.glob(f"{name.replace('-', '_')}-*.whl"))
    sdists = sorted(dist.glob(f"{name.replace('-', '_')}-*.tar.gz"))
    if len(wheels) != 1 or len(sdists) != 1:
        return [f"{name}: expected one wheel and one sdist, found {len(wheels)} and {len(sdists)}"]

    with zipfile.ZipFile(wheels[0]) as wheel:
        packed = {file for file in wheel.namelist() if not file.endswith("/")}
    metadata = {file for file in packed if file.split("/")[0].endswith(".dist-info")}
    for file in packed - metadata:
        owners[file].append(name)
    found = []
    if missing := source_files(member) - packed:
        found.append(f"{wheels[0].name}: lacks {', '.join(sorted(missing))}")
    if foreign := packed - metadata - source_files(member):
        found.append(f"{wheels[0].name}: has {', '.join(sorted(foreign))}, which is not in its src folder")
    typed = {f"{file.split('/')[0]}/py.typed" for file in packed - metadata}
    if missing := typed - packed:
        found.append(f"{wheels[0].name}: lacks {', '.join(sorted(missing))}")
    if not any(file.endswith(".dist-info/licenses/LICENSE") for file in metadata):
        found.append(f"{wheels[0].name}: lacks LICENSE")

    with tarfile.open(sdists[0]) as sdist:
        carried = {file.partition("/")[2] for file in sdist.getnames()}
    wanted = {"CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml"}
    wanted |= {str(file.relative_to(member)) for file in (member / "tests").rglob("*.py")}
    if missing := wanted - carried:
        found.append(f"{sdists[0].name}: lacks {', '.join(sorted(missing))}")
    return found


def source_files(member: Path) -> set[str]:
    """The files under ``src``, as a wheel names them; what Python leaves there when it runs is no source."""
    source = member / "src"
    files = (file for file in source.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {file.relative_to(source).as_posix() for file in files}


def main(dist: Path, members: list[Path]) -> int:
    """Print every fault of what ``dist`` holds of the folders ``members``; return the exit status."""
    owners: dict[str, list[str]] = defaultdict(list)
    found = [fault for member in members for fault in faults(member, dist, owners)]
    found += [f"{file}: belongs to {' and '.join(names)}" for file, names in owners.items() if len(names) > 1]
    for fault in found:
        print(fault)
    print(f"{len(members)} distributions, {len(owners)} files: {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), [Path(member) for member in sys.argv[2:]]))

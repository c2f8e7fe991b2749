"""What pyproject.toml cannot say: manifest and profiles, which stand beside the package, are shipped with it."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = [Path("data_manifest.yaml"), Path("notebooks/profiles.yaml")]


class BuildWithShipped(build_py):
    """Takes them into a source archive as they are, and into a wheel where ``ecgstudy.paths`` looks for them there."""

    def get_source_files(self) -> list[str]:
        """Return the files of a source archive, from which a wheel can be built."""
        return [*super().get_source_files(), *map(str, SHIPPED)]

    def run(self) -> None:
        """Build as ever, then copy."""
        super().run()
        if not self.editable_mode:
            for path in SHIPPED:
                target = Path(self.build_lib, "ecgstudy", "shipped", path)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)


setup(cmdclass={"build_py": BuildWithShipped})

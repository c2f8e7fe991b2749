"""What pyproject.toml cannot say: a wheel takes the manifest and the profiles along, which stand beside the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithShipped(build_py):
    """Copy them to ``ecgstudy/shipped``, where ``ecgstudy.paths`` looks outside a checkout."""

    def run(self) -> None:
        """Build as ever, then copy."""
        super().run()
        if not self.editable_mode:
            shipped = Path(self.build_lib, "ecgstudy", "shipped")
            shutil.copytree("notebooks/profiles", shipped / "profiles", dirs_exist_ok=True)
            shutil.copy("data_manifest.yaml", shipped)


setup(cmdclass={"build_py": BuildWithShipped})

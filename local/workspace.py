"""The copy that Pulumi works on: project file, the stack's settings and Pulumi's own state, in a state folder.

Pulumi writes into the stack's file (its passphrase's salt) and reads the program where it is; so the checkout stays
as it was. The folder is below the checkout's `.local/`, where `uv` finds the checkout's project.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from infra import stack_file
from local.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.control import Running

ROOT: Final = Path(__file__).parent.parent
# What says with which key a file's secrets are encrypted. Nobody here has that key.
_ENCRYPTION: Final = ("encryptedkey", "encryptionsalt", "secretsprovider")
_SALT: Final = "encryptionsalt"


@dataclass(frozen=True)
class Workspace:
    """One stack's state folder for the checkout `root`."""

    root: Path
    stack: str
    folder: Path

    @property
    def project(self) -> Path:
        """Where Pulumi's command line is run."""
        return self.folder / "project"

    @property
    def settings(self) -> dict[str, Any]:
        """The stack's settings file in the checkout. Raises SettingsError where the stack has none that is right."""
        return stack_file.load(stack_file.find(self.root, self.stack))

    def prepare(self, changes: Mapping[str, Any] | None = None) -> list[str]:
        """Copies project and settings as they are now, `changes` applied. The settings that got placeholders."""
        settings = self.settings
        self.project.mkdir(parents=True, exist_ok=True)
        declared = yaml.safe_load((self.root / "Pulumi.yaml").read_text())
        declared["main"] = str(self.root / declared["main"])
        options = declared["runtime"]["options"]
        options["virtualenv"] = str(self.root / options["virtualenv"])
        (self.project / "Pulumi.yaml").write_text(yaml.safe_dump(declared))

        config, replaced = stack_file.readable(settings)
        settings["config"] = config | dict(changes or {})
        for key in _ENCRYPTION:
            settings.pop(key, None)
        copy = self.project / f"Pulumi.{self.stack}.yaml"
        if copy.exists() and (salt := yaml.safe_load(copy.read_text()).get(_SALT)):
            settings[_SALT] = salt
        copy.write_text(yaml.safe_dump(settings))
        return replaced

    def environment(self, running: Running | None) -> dict[str, str]:
        """The environment of every process that is started for the stack: no key, profile or account of the user's.

        With a daemon it points Pulumi at it.
        """
        ours = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("AWS_", "PULUMI_", "UV_")) and key != "VIRTUAL_ENV"
        }
        ours |= {
            # Else boto3 would look for keys in the user's files and on the network.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), str(self.root / ".tools" / "bin")]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if running is None:
            return ours
        backend, home = self.folder / "backend", self.folder / "home"
        backend.mkdir(exist_ok=True)
        return ours | {
            "PULUMI_BACKEND_URL": f"file://{backend}",
            "PULUMI_CONFIG_PASSPHRASE": running.passphrase,
            "PULUMI_DEBUG_PROVIDERS": f"aws:{running.provider_port}",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_HOME": str(home),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            # The CLI runs `uv sync`: it must neither look for anything newer nor write the lock file.
            "UV_FROZEN": "1",
            "UV_OFFLINE": "1",
        }


def find_pulumi() -> str:
    """The command line. Raises UsageError where there is none."""
    found = shutil.which("pulumi")
    if found is None:
        raise UsageError("the command `pulumi` is not on PATH. Get it from https://www.pulumi.com/docs/install/")
    return found

"""Settings: what may be set, and where it is read."""

from potoserver.settings.errors import SettingsError
from potoserver.settings.loader import CONFIG_FLAG, SETTINGS_FILE_NAME, Loaded, load
from potoserver.settings.model import Settings

__all__ = ["CONFIG_FLAG", "SETTINGS_FILE_NAME", "Loaded", "Settings", "SettingsError", "load"]

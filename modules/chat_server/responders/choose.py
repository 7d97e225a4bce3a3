"""The responder that the settings name."""

from __future__ import annotations

from structlog.typing import FilteringBoundLogger

from potoserver import Clock

from ..settings import ChatSettings
from .base import Responder
from .echo import EchoResponder
from .openai import OpenAIResponder


def create_responder(settings: ChatSettings, clock: Clock, logger: FilteringBoundLogger) -> Responder:
    """Makes the responder that the settings name.

    Raises:
        ResponderSetupError: It can't be used on this machine.
    """
    if settings.responder == "openai":
        return OpenAIResponder(settings.openai, settings.reply_timeout_s, clock, logger)
    return EchoResponder(clock, settings.echo.delay_ms)

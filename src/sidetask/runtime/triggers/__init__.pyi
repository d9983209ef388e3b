"""The public names of triggers, for type checkers."""

from sidetask.runtime.triggers.base import Then as Then
from sidetask.runtime.triggers.base import Trigger as Trigger
from sidetask.runtime.triggers.base import TriggerContext as TriggerContext
from sidetask.runtime.triggers.schedule import cron as cron
from sidetask.runtime.triggers.schedule import every as every
from sidetask.runtime.triggers.watching import on_file_change as on_file_change
from sidetask.runtime.triggers.watching import on_state as on_state

"""Postgres for processes that are killed by the dozen, and would leave a listener each behind."""

from collections.abc import Callable

from sidetask.stores.sql.driver import Heard, Looker
from sidetask.stores.sql.postgres import PostgresDriver


class DeafDriver(PostgresDriver):
    """Hears nothing of other processes: there are none in these stories."""

    def watch(self, looker: Looker, heard: Heard) -> Callable[[], None]:
        return lambda: None

"""The tables, as a list of migrations: version n is what the first n of them make.

A migration is never changed once it was released. `{counter}` and `{text}` are types that the
databases call by different names; the names of indexes have no prefix that a driver would take
for that of a table.
"""

from collections.abc import Sequence

from sidetask.core.errors import StoreVersionError
from sidetask.stores.sql.driver import Connection, Driver

MIGRATIONS: Sequence[Sequence[str]] = (
    (
        """CREATE TABLE sidetask_conversations (
            id {text} PRIMARY KEY,
            agent TEXT NOT NULL,
            user_id TEXT,
            title TEXT NOT NULL,
            status TEXT NOT NULL,
            turns BIGINT NOT NULL,
            created_at DOUBLE PRECISION NOT NULL,
            updated_at DOUBLE PRECISION NOT NULL)""",
        """CREATE INDEX st_conversations_of_user
            ON sidetask_conversations (user_id, updated_at)""",
        """CREATE TABLE sidetask_messages (
            conversation_id {text} NOT NULL,
            position BIGINT NOT NULL,
            data TEXT NOT NULL,
            PRIMARY KEY (conversation_id, position))""",
        """CREATE TABLE sidetask_facts (
            conversation_id {text} NOT NULL,
            seq BIGINT NOT NULL,
            at DOUBLE PRECISION NOT NULL,
            data TEXT NOT NULL,
            PRIMARY KEY (conversation_id, seq))""",
        """CREATE TABLE sidetask_records (
            place {counter},
            kind TEXT NOT NULL,
            conversation_id {text} NOT NULL,
            id {text} NOT NULL,
            status TEXT NOT NULL,
            open BIGINT NOT NULL,
            at DOUBLE PRECISION NOT NULL,
            data TEXT NOT NULL,
            UNIQUE (conversation_id, kind, id))""",
        """CREATE INDEX st_records_open ON sidetask_records (kind, place) WHERE open = 1""",
        """CREATE INDEX st_records_by_id ON sidetask_records (kind, id)""",
    ),
    (
        """CREATE TABLE sidetask_state (
            space TEXT NOT NULL,
            owner {text} NOT NULL,
            key {text} NOT NULL,
            version BIGINT NOT NULL,
            at DOUBLE PRECISION NOT NULL,
            data TEXT NOT NULL,
            PRIMARY KEY (space, owner, key))""",
        """CREATE TABLE sidetask_counters (
            conversation_id {text} NOT NULL,
            name {text} NOT NULL,
            total DOUBLE PRECISION NOT NULL,
            PRIMARY KEY (conversation_id, name))""",
    ),
    (
        """CREATE TABLE sidetask_jobs (
            place {counter},
            id {text} NOT NULL UNIQUE,
            conversation_id {text} NOT NULL,
            task_id {text} NOT NULL,
            key TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            on_crash TEXT NOT NULL,
            at DOUBLE PRECISION NOT NULL,
            data TEXT NOT NULL,
            status TEXT NOT NULL,
            owner TEXT,
            claims BIGINT NOT NULL,
            claimed_at DOUBLE PRECISION,
            ended_at DOUBLE PRECISION,
            progress TEXT,
            result TEXT,
            error TEXT)""",
        """CREATE INDEX st_jobs_of_conversation ON sidetask_jobs (conversation_id)""",
        """CREATE INDEX st_jobs_of_task ON sidetask_jobs (task_id)""",
        """CREATE INDEX st_jobs_queued ON sidetask_jobs (place) WHERE status = 'queued'""",
        """CREATE INDEX st_jobs_owned ON sidetask_jobs (owner)
            WHERE status IN ('running', 'cancelling')""",
        """CREATE TABLE sidetask_members (
            place {counter},
            id {text} NOT NULL UNIQUE,
            data TEXT NOT NULL)""",
    ),
    (
        "ALTER TABLE sidetask_state ADD COLUMN change BIGINT NOT NULL DEFAULT 0",
        "CREATE INDEX st_state_changes ON sidetask_state (space, owner, change)",
    ),
)
VERSION = len(MIGRATIONS)

_LEDGER = "CREATE TABLE IF NOT EXISTS sidetask_migrations (version BIGINT PRIMARY KEY)"


def migrate(driver: Driver, connection: Connection) -> None:
    """Bring the tables to this version. If that fails, give the connection up: no half of it stays.

    Raises:
        StoreVersionError: They are newer.
    """
    if driver.has_tables(connection) and _version(connection) == VERSION:
        return  # the usual case, which writes nothing
    connection.begin()
    driver.lock_schema(connection)
    connection.run(_LEDGER)
    for version in range(_version(connection) + 1, VERSION + 1):
        for statement in MIGRATIONS[version - 1]:
            connection.run(
                statement.replace("{counter}", driver.counter).replace("{text}", driver.text)
            )
        connection.run("INSERT INTO sidetask_migrations (version) VALUES (?)", (version,))
    connection.commit()


def _version(connection: Connection) -> int:
    found = connection.rows("SELECT max(version) FROM sidetask_migrations")[0][0] or 0
    if found > VERSION:
        raise StoreVersionError(found, VERSION)
    return found

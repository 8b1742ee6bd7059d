"""The audit's table. The database itself refuses to change or remove a row, or to put one anywhere but at the end."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, Double, Integer, MetaData, String, Table, Text, inspect

METADATA = MetaData()
NAME = "lockgate_audit"

audit = Table(
    NAME,
    METADATA,
    # SQLite numbers only an INTEGER by itself; here the number is given: it is the fence between two workers.
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("user", String(255), nullable=False),
    Column("roles", Text, nullable=False),
    Column("operation", String(40), nullable=False),
    Column("model", String(256), nullable=False, index=True),
    Column("version", String(32), nullable=False),
    Column("key", String(250), nullable=False),
    Column("old", Text),
    Column("new", Text),
    Column("outcome", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("address", String(64), nullable=False),
    Column("request", String(64), nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

_SAYS = "the audit is append-only"
_REFUSE = f"BEGIN SELECT RAISE(ABORT, '{_SAYS}'); END"
_END = f"(SELECT coalesce(max(sequence), 0) + 1 FROM {NAME})"  # noqa: S608 - a constant
_SQLITE = (
    f"CREATE TRIGGER {NAME}_no_update BEFORE UPDATE ON {NAME} {_REFUSE}",
    f"CREATE TRIGGER {NAME}_no_delete BEFORE DELETE ON {NAME} {_REFUSE}",
    # INSERT OR REPLACE removes a row without asking the trigger above.
    f"CREATE TRIGGER {NAME}_at_the_end BEFORE INSERT ON {NAME} WHEN NEW.sequence <> {_END} {_REFUSE}",
)
_BODY = f"AS $$ BEGIN RAISE EXCEPTION '{_SAYS}'; END $$"
_CALL = f"EXECUTE FUNCTION {NAME}_refuse()"
_POSTGRESQL = (
    f"CREATE OR REPLACE FUNCTION {NAME}_refuse() RETURNS trigger LANGUAGE plpgsql {_BODY}",
    f"CREATE TRIGGER {NAME}_no_change BEFORE UPDATE OR DELETE ON {NAME} FOR EACH ROW {_CALL}",
    f"CREATE TRIGGER {NAME}_no_truncate BEFORE TRUNCATE ON {NAME} FOR EACH STATEMENT {_CALL}",
)


def create(db: Connection) -> None:
    """The table and its triggers, in one transaction; nothing where they are. The caller keeps others out."""
    if inspect(db).has_table(NAME):
        return
    METADATA.create_all(db)
    for statement in _SQLITE if db.dialect.name == "sqlite" else _POSTGRESQL:
        db.exec_driver_sql(statement)

# SPDX-License-Identifier: Apache-2.0
"""Are the tables on servers those that every version of the library knows, whatever they were before?"""

import datetime as dt
import json
import logging
import multiprocessing
import pathlib
import subprocess
import sys
import warnings

import pytest
import sqlalchemy as sa

from taskflow import exceptions as exc
from taskflow.persistence import models
from taskflow.persistence.backends import impl_sqlalchemy
from taskflow.persistence.backends.sqlalchemy import migration
from taskflow.types import failure as ft

REVISIONS = [
    "1cea328f0f65",
    "1c783c0c2875",
    "84d6e888850",
    "14b227d79a87",
    "589dccdf2b6e",
    "3162c0f3f8e4",
    "2ad4984f2864",
    "0bc3e1a3c135",
    "6df9422fcb43",
    "40fc8c914bd2",
    "00af93df9d77",
]
ORDER = {
    "logbooks": "created_at updated_at meta name uuid",
    "flowdetails": "created_at updated_at parent_uuid meta state name uuid",
    "atomdetails": "created_at updated_at parent_uuid meta name results version state uuid failure atom_type intention"
    " revert_results revert_failure",
}
POSTGRESQL_TYPES = {
    "created_at": "timestamp without time zone",
    "updated_at": "timestamp without time zone",
    "meta": "json",
    "name": "character varying(255)",
    "uuid": "character varying(64)",
    "parent_uuid": "character varying(64)",
    "state": "character varying(255)",
    "version": "character varying(64)",
    "results": "json",
    "failure": "json",
    "revert_results": "json",
    "revert_failure": "json",
    "atom_type": "atom_types",
    "intention": "intention_type",
}
MARIADB_TYPES = {
    **POSTGRESQL_TYPES,
    "created_at": "datetime",
    "updated_at": "datetime",
    "meta": "text",
    "name": "varchar(255)",
    "uuid": "varchar(64)",
    "parent_uuid": "varchar(64)",
    "state": "varchar(255)",
    "version": "varchar(64)",
    "results": "longtext",
    "failure": "longtext",
    "revert_results": "text",
    "revert_failure": "longtext",
    "atom_type": "enum('RETRY_DETAIL','TASK_DETAIL')",
    "intention": "enum('EXECUTE','IGNORE','REVERT','RETRY')",
}


def columns(database):
    """Table -> [(column, type)] in the order in which they stand."""
    if database.is_postgresql:
        rows = database.query(
            "select c.relname, a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute a"
            " join pg_class c on c.oid = a.attrelid where c.relkind = 'r' and a.attnum > 0 and not a.attisdropped"
            " and c.relnamespace = 'public'::regnamespace order by c.relname, a.attnum"
        )
    else:
        rows = database.query(
            "select table_name, column_name, column_type from information_schema.columns"
            " where table_schema = database() order by table_name, ordinal_position"
        )
    found = {}
    for table, column, kind in rows:
        found.setdefault(table, []).append((column, kind))
    return found


def assert_newest(database):
    assert database.query("select version_num from alembic_version") == [("00af93df9d77",)]
    found = columns(database)
    assert found.pop("alembic_version") == [
        ("version_num", "character varying(32)" if database.is_postgresql else "varchar(32)")
    ]
    types = POSTGRESQL_TYPES if database.is_postgresql else MARIADB_TYPES
    wanted = {table: [(name, types[name]) for name in names.split()] for table, names in ORDER.items()}
    if not database.is_postgresql:
        wanted["flowdetails"] = [(n, "longtext" if n == "meta" else kind) for n, kind in wanted["flowdetails"]]
    assert found == wanted


def test_new_database_has_the_columns_of_the_newest_revision(database):
    connection = database.connection()
    connection.upgrade()
    assert_newest(database)


@pytest.mark.parametrize("database", ["postgresql-psycopg2"], indirect=True)
def test_keys_and_indexes_of_postgresql(database):
    database.connection()
    rows = database.query(
        "select conname, contype::text, pg_get_constraintdef(oid) from pg_constraint"
        " where connamespace = 'public'::regnamespace and contype in ('p', 'f') order by conname"
    )
    assert rows == [
        ("alembic_version_pkc", "p", "PRIMARY KEY (version_num)"),
        ("flowdetails_ibfk_1", "f", "FOREIGN KEY (parent_uuid) REFERENCES logbooks(uuid) ON DELETE CASCADE"),
        ("flowdetails_pkey", "p", "PRIMARY KEY (uuid)"),
        ("logbooks_pkey", "p", "PRIMARY KEY (uuid)"),
        ("taskdetails_ibfk_1", "f", "FOREIGN KEY (parent_uuid) REFERENCES flowdetails(uuid) ON DELETE CASCADE"),
        ("taskdetails_pkey", "p", "PRIMARY KEY (uuid)"),
    ]
    indexes = dict(
        database.query(
            "select c.relname, i.indisunique from pg_index i join pg_class c on c.oid = i.indexrelid"
            " where c.relnamespace = 'public'::regnamespace and not i.indisprimary"
        )
    )
    assert indexes == dict.fromkeys(
        ("logbook_uuid_idx", "flowdetails_uuid_idx", "taskdetails_uuid_idx")
        + ("flowdetails_parent_uuid_idx", "atomdetails_parent_uuid_idx"),
        False,
    )
    labels = database.query(
        "select t.typname, string_agg(e.enumlabel, ' ' order by e.enumsortorder) from pg_enum e"
        " join pg_type t on t.oid = e.enumtypid group by t.typname order by t.typname"
    )
    assert labels == [("atom_types", "RETRY_DETAIL TASK_DETAIL"), ("intention_type", "EXECUTE IGNORE REVERT RETRY")]
    ((default,),) = database.query(
        "select column_default from information_schema.columns"
        " where table_name = 'atomdetails' and column_name = 'intention'"
    )
    assert default == "'EXECUTE'::intention_type"


@pytest.mark.parametrize("database", ["mariadb-pymysql"], indirect=True)
def test_keys_and_indexes_of_mariadb(database):
    database.connection()
    indexes = database.query(
        "select distinct table_name, index_name, non_unique from information_schema.statistics"
        " where table_schema = database() and table_name <> 'alembic_version' order by 1, 2"
    )
    assert [tuple(row) for row in indexes] == [
        ("atomdetails", "PRIMARY", 0),
        ("atomdetails", "taskdetails_ibfk_1", 1),
        ("atomdetails", "taskdetails_uuid_idx", 0),
        ("flowdetails", "flowdetails_ibfk_1", 1),
        ("flowdetails", "flowdetails_uuid_idx", 0),
        ("flowdetails", "PRIMARY", 0),
        ("logbooks", "logbook_uuid_idx", 0),
        ("logbooks", "PRIMARY", 0),
    ]
    keys = database.query(
        "select table_name, referenced_table_name, delete_rule from information_schema.referential_constraints"
        " where constraint_schema = database() order by 1"
    )
    assert keys == [("atomdetails", "flowdetails", "CASCADE"), ("flowdetails", "logbooks", "CASCADE")]
    tables = database.query(
        "select distinct engine, table_collation from information_schema.tables"
        " where table_schema = database() and table_name <> 'alembic_version'"
    )
    assert tables == [("InnoDB", "utf8mb3_general_ci")]
    ((default,),) = database.query(
        "select column_default from information_schema.columns"
        " where table_schema = database() and table_name = 'atomdetails' and column_name = 'intention'"
    )
    assert default == "'EXECUTE'"


FAILURE = {
    "exception_str": "boom",
    "traceback_str": "",
    "exc_type_names": ["ValueError", "Exception"],
    "version": 1,
    "exc_args": ["boom"],
    "causes": [],
}


def fill(database, revision):
    """Writes one book, flow and atom in the form that a revision has for them."""
    at = REVISIONS.index(revision)
    atoms = "atomdetails" if at >= 4 else "taskdetails"
    row = {"created_at": dt.datetime(2020, 1, 2, 3, 4, 5), "meta": '{"k": [1]}', "name": "x"}
    database.query("insert into logbooks (created_at, meta, name, uuid) values (%s, %s, %s, 'B')", *row.values())
    database.query(
        "insert into flowdetails (created_at, meta, name, uuid, parent_uuid, state) values (%s, %s, %s, 'F', 'B', 'R')",
        *row.values(),
    )
    atom = {**row, "uuid": "A", "parent_uuid": "F", "state": "FAILURE", "version": "1.2", "results": '{"r": 2}'}
    if at >= 1:
        atom["failure"] = json.dumps(FAILURE)
    else:
        atom["exception"], atom["stacktrace"] = "ValueError", "there"
    if at >= 2:
        atom["atom_type"] = "TASK_DETAIL"
    if at >= 3:
        atom["intention"] = "REVERT"
    if at >= 5:
        atom["revert_results"], atom["revert_failure"] = '"back"', json.dumps(FAILURE)
    marks = ", ".join(["%s"] * len(atom))
    database.query(f"insert into {atoms} ({', '.join(atom)}) values ({marks})", *atom.values())
    if at < 2:
        return
    # A second one, with nothing that may be missing.
    database.query(f"insert into {atoms} (uuid, parent_uuid, name, atom_type) values ('N', 'F', 'n', 'RETRY_DETAIL')")


# What the driver is makes no difference for all the statements of a migration.
ONE_DRIVER = ["postgresql-psycopg2", "mariadb-pymysql"]


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize("database", ONE_DRIVER, indirect=True)
def test_populated_database_of_each_revision_is_brought_up_to_date(database, revision):
    engine = sa.create_engine(database.url)
    with engine.begin() as connection:
        migration.db_sync(connection, revision)
    engine.dispose()
    assert database.query("select version_num from alembic_version") == [(revision,)]
    fill(database, revision)
    connection = database.connection()
    assert_newest(database)
    book = connection.get_logbook("B", lazy=True)
    assert (book.name, book.meta, book.created_at) == ("x", {"k": [1]}, dt.datetime(2020, 1, 2, 3, 4, 5))
    flow_detail = connection.get_flow_details("F", lazy=True)
    assert (flow_detail.name, flow_detail.meta, flow_detail.state) == ("x", {"k": [1]}, "R")
    at = REVISIONS.index(revision)
    if at < 2:
        # Nobody knows what kind of atom it is; that can only be said by whoever knows the flow.
        with pytest.raises(exc.StorageFailure, match="'x'"):
            connection.get_atom_details("A")
        database.query("update atomdetails set atom_type = 'TASK_DETAIL'")
    detail = connection.get_atom_details("A")
    assert type(detail) is models.TaskDetail
    assert (detail.name, detail.state, detail.version, detail.results) == ("x", "FAILURE", "1.2", {"r": 2})
    assert detail.meta == {"k": [1]}
    assert detail.intention == ("REVERT" if at >= 3 else "EXECUTE")
    wanted = ft.Failure.from_dict(FAILURE)
    assert (detail.failure.matches(wanted)) if at >= 1 else (detail.failure is None)
    if at >= 5:
        assert detail.revert_results == "back"
        assert detail.revert_failure.matches(wanted)
    if at >= 2:
        bare = connection.get_atom_details("N")
        assert (type(bare), bare.results, bare.meta, bare.failure) == (models.RetryDetail, [], {}, None)
    # And it can be gone on with.
    detail.put("SUCCESS", [1, None])
    connection.update_atom_details(detail)
    assert connection.get_atom_details("A").results == [1, None]
    connection.destroy_logbook("B")
    assert database.query("select count(*) from atomdetails") == [(0,)]


def test_database_of_a_newer_version_is_refused_and_left_alone(database):
    connection = database.connection()
    database.query("update alembic_version set version_num = 'ffffffffffff'")
    with pytest.raises(exc.StorageFailure, match="newer"):
        connection.upgrade()
    assert database.query("select version_num from alembic_version") == [("ffffffffffff",)]


def test_alembic_alone_can_do_it(database, tmp_path):
    folder = migration._FOLDER
    text = (folder / "alembic.ini").read_text()
    ini = tmp_path / "alembic.ini"
    lines = [line for line in text.splitlines() if not line.startswith(("script_location", "sqlalchemy.url"))]
    at = lines.index("[alembic]") + 1
    lines[at:at] = [f"script_location = {folder}", f"sqlalchemy.url = {database.url}"]
    ini.write_text("\n".join(lines))
    command = [sys.executable, "-m", "alembic", "-c", str(ini), "upgrade", "head"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert_newest(database)
    database.connection().save_logbook(models.LogBook("b"))


def _upgrade(url, barrier, answers):
    backend = impl_sqlalchemy.SQLAlchemyBackend({"connection": url})
    try:
        connection = backend.get_connection()
        barrier.wait(30)
        connection.upgrade()
        connection.save_logbook(models.LogBook("b"))
        answers.put("fine")
    except BaseException as e:
        answers.put(repr(e))
    finally:
        backend.close()


@pytest.mark.parametrize("start", [None, "589dccdf2b6e"])
@pytest.mark.parametrize("database", ONE_DRIVER, indirect=True)
def test_processes_upgrade_at_the_same_time(database, start):
    if start is not None:
        engine = sa.create_engine(database.url)
        with engine.begin() as connection:
            migration.db_sync(connection, start)
        engine.dispose()
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(3), context.Queue()
    processes = [context.Process(target=_upgrade, args=(database.url, barrier, answers)) for _ in range(3)]
    for process in processes:
        process.start()
    assert [answers.get(timeout=60) for _ in processes] == ["fine"] * 3
    for process in processes:
        process.join(30)
    assert_newest(database)
    assert database.query("select count(*) from logbooks") == [(3,)]
    # The lock was given back.
    database.connection()


def test_upgrade_of_what_is_up_to_date_changes_no_tables(database):
    connection = database.connection()
    seen = []
    sa.event.listen(connection.backend.engine, "before_cursor_execute", lambda *args: seen.append(args[2].split()[0]))
    connection.upgrade()
    assert not {word.upper() for word in seen} & {"ALTER", "DROP", "INSERT", "UPDATE"}


# -- migrations by themselves


def test_revisions_form_one_line():
    from alembic import config, script

    folder = pathlib.Path(migration.__file__).parent / "alembic"
    scripts = script.ScriptDirectory.from_config(config.Config(folder / "alembic.ini"))
    assert [revision.revision for revision in scripts.walk_revisions()][::-1] == REVISIONS
    assert scripts.get_heads() == ["00af93df9d77"]
    assert migration.HEAD == "00af93df9d77"


@pytest.mark.parametrize("start", [None, *REVISIONS])
def test_migrations_lead_to_the_newest_columns_without_a_server(start):
    engine = sa.create_engine("sqlite://")
    level = logging.getLogger().level
    with engine.begin() as connection, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if start is not None:
            migration.db_sync(connection, start)
            marked = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
            assert marked == start
        migration.db_sync(connection)
        migration.db_sync(connection)
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").fetchall() == [("00af93df9d77",)]
        inspector = sa.inspect(connection)
        columns = {t: [c["name"] for c in inspector.get_columns(t)] for t in ("logbooks", "flowdetails", "atomdetails")}
    assert columns == {table: names.split() for table, names in ORDER.items()}
    assert logging.getLogger().level == level
    engine.dispose()


def test_unknown_revision_is_reported():
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('ffffffffffff')")
        with pytest.raises(exc.StorageFailure, match="newer"):
            migration.db_sync(connection)
    engine.dispose()

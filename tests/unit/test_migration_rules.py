"""Migrations change a schema that serves: what they may not do, as their text shows it.

The first six are older than the first release: nobody's database had rows when they ran.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from shared import migrations

BEFORE_THE_FIRST_RELEASE = 6
VERSIONS = sorted((Path(migrations.__file__).parent / "versions").glob("[0-9]*.py"))
#: What takes something away that the version before may still use.
TAKES_AWAY = {"drop_column", "drop_table", "rename_table", "drop_constraint", "alter_column"}


def wrongs(text: str) -> list[str]:
    """What is wrong with a migration, each by the name of the call."""
    module = ast.parse(text)
    upgrade = next(
        node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == "upgrade"
    )
    calls = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
    downgrade = [
        node for node in module.body if isinstance(node, ast.FunctionDef) and node is not upgrade
        and node.name == "downgrade"
    ]  # fmt: skip
    undone = {id(call) for node in downgrade for call in ast.walk(node)}
    done = [call for call in calls if id(call) not in undone]
    made = {_text(call.args[0]) for call in done if _name(call) == "op.create_table"}
    has_leave = any(
        isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "CONTRACTS"
        for node in module.body
    )
    return [wrong for call in done if (wrong := _wrong(call, made, has_leave))]


def _wrong(call: ast.Call, made: set[str], has_leave: bool) -> str | None:
    name = _name(call)
    if name in {"op.create_index", "op.drop_index"}:
        table = call.args[1] if len(call.args) > 1 else None
        return None if table is not None and _text(table) in made else name
    if name == "op.add_column":
        return name if _fills(call) else None
    if name.startswith("op.") and name[3:] in TAKES_AWAY:
        return None if has_leave else name
    if name in {"op.create_foreign_key", "op.create_check_constraint"}:
        is_lazy = any(word.arg == "postgresql_not_valid" for word in call.keywords)
        return None if is_lazy else name
    return None


def _fills(call: ast.Call) -> bool:
    """Whether the column must have a value that old code does not give."""
    column: Any = call.args[1]
    words = {word.arg: word.value for word in getattr(column, "keywords", [])}
    is_needed = isinstance(words.get("nullable"), ast.Constant) and not words["nullable"].value
    return is_needed and "server_default" not in words


def _name(call: ast.Call) -> str:
    return ast.unparse(call.func)


def _text(node: ast.expr) -> str:
    return ast.unparse(node)


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.stem)
def test_a_migration_can_run_while_the_version_before_serves(path: Path) -> None:
    if int(path.stem.partition("_")[0]) > BEFORE_THE_FIRST_RELEASE:
        assert wrongs(path.read_text()) == []


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ("op.create_index('ix', 'jobs', ['step'])", ["op.create_index"]),
        ("op.drop_index('ix', table_name='jobs')", ["op.drop_index"]),
        ("online.create_index('ix', 'jobs', ['step'])", []),
        ("op.create_table('new', sa.Column('a')); op.create_index('ix', 'new', ['a'])", []),
        ("op.add_column('jobs', sa.Column('a', sa.Text(), nullable=True))", []),
        ("op.add_column('jobs', sa.Column('a', sa.Text(), nullable=False))", ["op.add_column"]),
        (
            "op.add_column('jobs', sa.Column('a', sa.Text(), nullable=False, server_default=''))",
            [],
        ),
        ("op.drop_column('jobs', 'step')", ["op.drop_column"]),
        ("op.create_foreign_key('fk', 'a', 'b', ['c'], ['d'])", ["op.create_foreign_key"]),
    ],
)
def test_the_rules_see_what_would_hold_others_up(change: str, wrong: list[str]) -> None:
    text = f"def upgrade():\n    {change}\n\ndef downgrade():\n    op.drop_column('a', 'b')\n"
    assert wrongs(text) == wrong


def test_something_may_be_taken_away_when_it_is_said_who_used_it_last() -> None:
    text = "CONTRACTS = 'unused since 1.2'\ndef upgrade():\n    op.drop_column('jobs', 'step')\n"
    assert wrongs(text) == []

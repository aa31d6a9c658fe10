"""Builders: what they return is what the language has, and what is wrong is said with the step's name."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import errors

from support.database import Database
from support.paths import ROOT

RETRY = {"delay": "PT1S", "backoff": {"exponential": {}}, "limit": {"attempt": {"count": 3}}}

# A call, and the step that it returns.
BUILT: list[tuple[str, dict[str, Any]]] = [
    ("sql_step('a', 'SELECT 1')", {"a": {"call": "sql", "with": {"query": "SELECT 1"}}}),
    ("sql_step('a', 'SELECT $1, $2', '.x', '${ .y }')",
     {"a": {"call": "sql", "with": {"query": "SELECT $1, $2", "params": ["${ .x }", "${ .y }"]}}}),
    ("sql_step('a', 'SELECT $1', params => ARRAY['.x'], result => 'one', expect => 'one', export => '$context + .',"
     " timeout => '90 s', condition => '.x > 1', next => 'b')",
     {"a": {"call": "sql", "with": {"query": "SELECT $1", "params": ["${ .x }"], "result": "one", "expect": "one"},
            "export": {"as": "${ $context + . }"}, "timeout": {"after": "PT1M30S"}, "if": "${ .x > 1 }",
            "then": "b"}}),
    ("http_step('a', 'POST', 'https://x.example/y', body => '{order: .id}', retry => 3, timeout => '20 s',"
     " headers => '{\"X-A\": \"${ .a }\"}', compensate => automate.http_step('undo', 'DELETE', 'https://x.example/y'))",
     {"a": {"try": [{"a": {"call": "http", "with": {
         "method": "POST", "endpoint": "https://x.example/y", "body": "${ {order: .id} }",
         "headers": {"X-A": "${ .a }"}}, "timeout": {"after": "PT20S"},
         "metadata": {"compensate": [{"undo": {"call": "http", "with": {
             "method": "DELETE", "endpoint": "https://x.example/y"}}}]}}}],
            "catch": {"retry": RETRY}}}),
    ("notify_step('a', 'paid', '${ $workflow.input.email }', data => '.order')",
     {"a": {"call": "notify", "with": {"template": "paid", "to": "${ $workflow.input.email }",
                                       "data": "${ .order }"}}}),
    ("report_step('a', 'month_end', 'pdf', params => '{closed: $context.closed}')",
     {"a": {"call": "report", "with": {"name": "month_end", "format": "pdf",
                                       "params": "${ {closed: $context.closed} }"}}}),
    ("wait_step('a', '1 day 30 min')", {"a": {"wait": "P1DT30M"}}),
    ("approval_step('a', 'boss', 'Pay?', data => '.order', escalate_after => '4 hours', escalate_to => 'chief',"
     " timeout => '2 days')",
     {"a": {"call": "approval", "with": {"role": "boss", "subject": "Pay?", "data": "${ .order }",
                                         "escalate": {"after": "PT4H", "role": "chief"}},
            "timeout": {"after": "P2D"}}}),
    ("listen_step('a', 'order.paid', '.id == $context.id', timeout => '3 days')",
     {"a": {"listen": {"to": {"one": {"with": {"type": "order.paid", "data": "${ .id == $context.id }"}}}},
            "timeout": {"after": "P3D"}}}),
    ("emit_step('a', 'order.paid', '{id: .id}')",
     {"a": {"emit": {"event": {"with": {"type": "order.paid", "source": "urn:pg_automate:workflow",
                                        "data": "${ {id: .id} }"}}}}}),
    ("set_step('a', '{n: 1}')", {"a": {"set": "${ {n: 1} }"}}),
    ("switch_step('a', automate.case_when('.n > 9', 'big'), automate.case_else('end'))",
     {"a": {"switch": [{"case1": {"when": "${ .n > 9 }", "then": "big"}}, {"otherwise": {"then": "end"}}]}}),
    ("fork_step('a', automate.set_step('x', '1'), automate.do_step('y', automate.steps(automate.set_step('z', '2'))))",
     {"a": {"fork": {"branches": [{"x": {"set": "${ 1 }"}}, {"y": {"do": [{"z": {"set": "${ 2 }"}}]}}]}}}),
    ("fork_step('a', ARRAY[automate.set_step('x', '1')], compete => true)",
     {"a": {"fork": {"branches": [{"x": {"set": "${ 1 }"}}], "compete": True}}}),
    ("for_each_step('a', '.rows', automate.set_step('x', '$row.n'), item => 'row', max_parallel => 4,"
     " on_item_error => 'continue', collect => '.')",
     {"a": {"for": {"each": "row", "in": "${ .rows }"}, "do": [{"x": {"set": "${ $row.n }"}}],
            "metadata": {"maxParallel": 4, "onItemError": "continue", "collect": "${ . }"}}}),
    ("try_step('a', automate.set_step('x', '1'), catch_steps => automate.set_step('y', '$error.title'),"
     " error_type => 'timeout', error_status => 408, retry => 3)",
     {"a": {"try": [{"x": {"set": "${ 1 }"}}], "catch": {
         "errors": {"with": {"type": "https://open-workflow-specification.org/dsl/errors/types/timeout",
                             "status": 408}},
         "retry": RETRY, "do": [{"y": {"set": "${ $error.title }"}}]}}}),
    ("raise_step('a', 'https://x.example/no', 403, 'No')",
     {"a": {"raise": {"error": {"type": "https://x.example/no", "status": 403, "title": "No"}}}}),
    ("run_workflow_step('a', 'other', '{id: .id}', wait => false)",
     {"a": {"run": {"workflow": {"name": "other", "input": "${ {id: .id} }"}, "await": False}}}),
    ("compensate(automate.set_step('a', '1'), automate.set_step('undo', '2'))",
     {"a": {"set": "${ 1 }", "metadata": {"compensate": [{"undo": {"set": "${ 2 }"}}]}}}),
]  # fmt: skip


@pytest.mark.parametrize(("call", "built"), BUILT, ids=[call for call, _ in BUILT])
def test_a_builder_returns(db: Database, call: str, built: dict[str, Any]) -> None:
    assert db.one(f"SELECT automate.{call}") == built


# A call, and what its error says.
WRONG: list[tuple[str, str, str]] = [
    ("sql_step('a', 'SELECT $1', '.x |')", 'step "a": .*syntax|step "a"', "jq"),
    ("http_step('a', 'PSOT', 'https://x.example')", 'step "a".*unknown method', "POST"),
    ("http_step('a', 'POST', 'x.example')", 'step "a".*https', "whole address"),
    ("sql_step('a', 'SELECT 1', result => 'row')", 'step "a".*result', "rows"),
    ("wait_step('a', '1 month')", "duration: .*months", "days"),
    ("wait_step('a', '-1 s')", "duration: .*negative", "5 minutes"),
    ("wait_step('a', '20 years')", "duration: .*months or years", "days"),
    ("wait_step('a', '9000 days')", "duration: .*ten years", "Shorten"),
    ("wait_step('a', '1 us')", "duration: .*milliseconds", "Round"),
    ("wait_step('end', '1 s')", 'step "end".*cannot be called', "another name"),
    ("set_step('a', 'nope(1)')", 'step "a".*no jq function', ""),
    ("http_step('a', 'GET', 'https://x.example', retry => 0)", 'step "a".*above 0', "attempts"),
    ("sql_step('a', 'SELECT 1', retry_delay => '1 s')", 'step "a".*retry_delay needs retry', "retry => 3"),
    ("approval_step('a', 'r', 's', escalate_to => 'x')", 'step "a".*go together', "how long"),
    ("switch_step('a', '{}')", 'step "a".*case 1', "case_when"),
    ("for_each_step('a', '.', '5')", 'step "a".*steps must be steps', "automate.steps"),
    ("steps(automate.set_step('a', '1'), automate.set_step('a', '2'))", "used twice", "own name"),
    ("compensate('[]', automate.set_step('a', '2'))", "one step", "sql_step"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message", "hint"), WRONG, ids=[call for call, _, _ in WRONG])
def test_a_builder_refuses(db: Database, call: str, message: str, hint: str) -> None:
    with pytest.raises(errors.InvalidParameterValue, match=message) as refused:
        db.execute(f"SELECT automate.{call}")
    assert hint in (refused.value.diag.message_hint or "")
    assert refused.value.diag.message_detail


def test_a_missing_argument_is_named(db: Database) -> None:
    with pytest.raises(errors.NullValueNotAllowed, match="query must not be NULL"):
        db.execute("SELECT automate.sql_step('a', NULL)")


def test_the_examples_of_the_document_run(db: Database, role: Callable[..., str]) -> None:
    text = (ROOT / "docs" / "workflow-steps.md").read_text()
    examples = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert examples
    session = db.connect(role("reader"))
    for example in examples:
        session.execute(example)  # type: ignore[arg-type]

"""call: approval: who may decide, quorum, escalation, time limits, and that a decision counts once."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import errors, sql as names

from support.database import Database
from test_workflows import create, end, no_jobs, start

Person = psycopg.Connection[Any]


@pytest.fixture
def bosses(role: Any) -> str:
    """A group whose members decide."""
    return str(role("bosses", level=None, options="NOLOGIN"))


def member(db: Database, role: Any, group: str, name: str) -> tuple[str, Person]:
    user = str(role(name))
    db.admin.execute(names.SQL("GRANT {} TO {}").format(names.Identifier(group), names.Identifier(user)))
    return user, db.connect(user)


def ask(role: str, **more: object) -> dict[str, Any]:
    return {"ask": {"call": "approval", "with": {"role": role, "subject": "${ \"Order \\(.order)\" }", **more}}}


def asked(db: Database, run: str) -> str:
    db.wait_until("SELECT EXISTS (SELECT FROM automate.approval WHERE run = %s AND status = 'pending')", [run])
    return str(db.one("SELECT id FROM automate.approval WHERE run = %s AND status = 'pending'", [run]))


def decide(person: Person, approval: str, decision: str, comment: str | None = None) -> str:
    row = person.execute("SELECT automate.decide_approval(%s, %s, %s)", [approval, decision, comment]).fetchone()
    assert row is not None
    return str(row[0])


def status(db: Database, approval: str) -> str:
    return str(db.one("SELECT status FROM automate.approval WHERE id = %s", [approval]))


def test_a_member_approves_and_the_run_goes_on(db: Database, role: Any, bosses: str) -> None:
    ann, as_ann = member(db, role, bosses, "ann")
    create(db, "w", ask(bosses, data={"amount": "${ .amount }"}))
    run = start(db, "w", {"order": 7, "amount": 90})
    approval = asked(db, run)
    mine = as_ann.execute("SELECT id::text, workflow, subject, data, quorum, approved, age > '0' FROM automate.my_approvals").fetchall()
    assert mine == [(approval, "w", "Order 7", {"amount": 90}, 1, 0, True)]
    # Who decides does not see the run.
    assert as_ann.execute("SELECT count(*) FROM automate.run").fetchone() == (0,)
    assert decide(as_ann, approval, "approve", "fine") == "approved"
    state, output, _ = end(db, run)
    assert (state, output["decision"], output["by"], output["comment"]) == ("completed", "approved", ann, "fine")
    assert as_ann.execute("SELECT count(*) FROM automate.my_approvals").fetchone() == (0,)
    assert db.rows("SELECT by::text, decision, comment, session::text FROM automate.approval_decision") == [
        (ann, "approved", "fine", ann)]
    told = db.rows("SELECT name, payload ->> 'approval' FROM automate.event ORDER BY id")
    assert told == [("approval.requested", approval), ("approval.decided", approval)]
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="not pending"):
        decide(as_ann, approval, "rejected")
    no_jobs(db)


def test_a_quorum_counts_people_and_one_rejection_rejects(db: Database, role: Any, bosses: str) -> None:
    people = [member(db, role, bosses, name)[1] for name in ("ann", "bob", "cho")]
    create(db, "w", ask(bosses, quorum=2))
    run = start(db, "w")
    approval = asked(db, run)
    assert decide(people[0], approval, "approved") == "pending"
    with pytest.raises(errors.UniqueViolation, match="before"):
        decide(people[0], approval, "approved")
    # Nor in the name of the group.
    people[0].execute(names.SQL("SET ROLE {}").format(names.Identifier(bosses)))
    with pytest.raises(errors.InsufficientPrivilege):
        decide(people[0], approval, "approved")
    assert people[1].execute("SELECT approved FROM automate.my_approvals").fetchone() == (1,)
    assert decide(people[1], approval, "approved") == "approved"
    output = end(db, run)[1]
    assert len(output["decisions"]) == 2
    run = start(db, "w")
    approval = asked(db, run)
    assert decide(people[1], approval, "approved") == "pending"
    assert decide(people[2], approval, "reject", "too dear") == "rejected"
    assert end(db, run)[1]["decision"] == "rejected"
    no_jobs(db)


def test_neither_owners_nor_others_decide(db: Database, role: Any, bosses: str) -> None:
    owner = db.connect(role("owner"))
    other = db.connect(role("other"))
    document = f'{{"do": [{{"ask": {{"call": "approval", "with": {{"role": "{bosses}", "subject": "s"}}}}}}]}}'
    owner.execute("SELECT automate.create_workflow('w', %s::jsonb)", [document])
    owner.execute("SELECT automate.execute_workflow('w')")
    db.wait_until("SELECT EXISTS (SELECT FROM automate.approval)")
    approval = str(db.one("SELECT id FROM automate.approval"))
    with pytest.raises(errors.InsufficientPrivilege, match="may not decide"):
        decide(owner, approval, "approved")
    assert owner.execute("SELECT count(*) FROM automate.approval").fetchone() == (1,)
    with pytest.raises(errors.UndefinedObject):
        decide(other, approval, "approved")
    assert other.execute("SELECT count(*) FROM automate.approval").fetchone() == (0,)
    with pytest.raises(errors.InvalidParameterValue, match="perhaps"):
        decide(owner, approval, "perhaps")
    assert status(db, approval) == "pending"


def test_a_decision_that_is_rolled_back_is_none(db: Database, role: Any, bosses: str) -> None:
    user, _ = member(db, role, bosses, "ann")
    slow = db.connect(user, autocommit=False)
    create(db, "w", ask(bosses))
    run = start(db, "w")
    approval = asked(db, run)
    assert decide(slow, approval, "approved") == "approved"
    # The run can be ended all the same; what could not be taken back then is later.
    db.one("SELECT automate.cancel_run(%s)", [run])
    assert end(db, run)[0] == "cancelled"
    slow.rollback()
    db.wait_until("SELECT status = 'withdrawn' FROM automate.approval WHERE id = %s", [approval])
    no_jobs(db)


def test_a_timeout_and_a_cancel_withdraw(db: Database, role: Any, bosses: str) -> None:
    _, as_ann = member(db, role, bosses, "ann")
    task = ask(bosses)
    task["ask"]["timeout"] = {"after": {"milliseconds": 200}}
    create(db, "w", {"try": {"try": [task], "catch": {"do": [{"late": {"set": {"late": True}}}]}}})
    assert end(db, start(db, "w"))[:2] == ("completed", {"late": True})
    create(db, "x", ask(bosses))
    run = start(db, "x")
    approval = asked(db, run)
    db.one("SELECT automate.cancel_run(%s)", [run])
    assert end(db, run)[0] == "cancelled"
    assert db.rows("SELECT DISTINCT status FROM automate.approval") == [("withdrawn",)]
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="not pending"):
        decide(as_ann, approval, "approved")
    no_jobs(db)


def test_escalation_lets_others_decide_too(db: Database, role: Any, bosses: str) -> None:
    chiefs = role("chiefs", level=None, options="NOLOGIN")
    _, as_eve = member(db, role, chiefs, "eve")
    create(db, "w", ask(bosses, escalate={"after": {"milliseconds": 300}, "role": chiefs}))
    run = start(db, "w")
    approval = asked(db, run)
    db.wait_until("SELECT escalated_at IS NOT NULL FROM automate.approval WHERE id = %s", [approval])
    assert as_eve.execute("SELECT count(*) FROM automate.my_approvals").fetchone() == (1,)
    event = db.rows("SELECT payload ->> 'approval', payload ->> 'escalate_role' FROM automate.event WHERE name = 'approval.escalated'")
    assert event == [(approval, chiefs)]
    assert decide(as_eve, approval, "approved") == "approved"
    assert end(db, run)[1]["decision"] == "approved"
    no_jobs(db)


def test_what_is_decided_in_time_is_not_escalated(db: Database, role: Any, bosses: str) -> None:
    chiefs = role("chiefs", level=None, options="NOLOGIN")
    _, as_eve = member(db, role, chiefs, "eve")
    _, as_ann = member(db, role, bosses, "ann")
    create(db, "w", ask(bosses, escalate={"after": {"hours": 1}, "role": chiefs}))
    run = start(db, "w")
    approval = asked(db, run)
    assert as_eve.execute("SELECT count(*) FROM automate.approval").fetchone() == (0,)
    with pytest.raises(errors.UndefinedObject):
        decide(as_eve, approval, "approved")
    decide(as_ann, approval, "approved")
    assert end(db, run)[0] == "completed"
    no_jobs(db)


def test_a_decision_is_handed_on_once(db: Database, role: Any, bosses: str) -> None:
    ann, as_ann = member(db, role, bosses, "ann")
    zoe = role("zoe")
    as_zoe = db.connect(zoe)
    create(db, "w", ask(bosses))
    run = start(db, "w")
    approval = asked(db, run)
    call = "SELECT automate.delegate_approval(%s, %s::regrole, 'on leave')"
    with pytest.raises(errors.UndefinedObject):
        as_zoe.execute(call, [approval, ann])
    with pytest.raises(errors.InsufficientPrivilege, match="log in"):
        as_ann.execute(call, [approval, bosses])
    with pytest.raises(errors.InvalidParameterValue, match="itself"):
        as_ann.execute(call, [approval, ann])
    as_ann.execute(call, [approval, zoe])
    assert as_ann.execute("SELECT count(*) FROM automate.my_approvals").fetchone() == (0,)
    assert as_zoe.execute("SELECT id::text FROM automate.my_approvals").fetchall() == [(approval,)]
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="handed"):
        decide(as_ann, approval, "approved")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="handed"):
        as_ann.execute(call, [approval, zoe])
    assert decide(as_zoe, approval, "approved") == "approved"
    assert end(db, run)[1]["by"] == zoe
    assert db.rows("SELECT by::text, on_behalf_of::text FROM automate.approval_decision") == [(zoe, ann)]
    no_jobs(db)


def test_unknown_roles_are_refused_when_the_workflow_is_made(db: Database, bosses: str) -> None:
    with pytest.raises(errors.Error, match="does not exist"):
        create(db, "w", ask("nobody_of_this_name"))
    with pytest.raises(errors.Error, match="does not exist"):
        create(db, "w", ask(bosses, escalate={"after": "PT1H", "role": "nobody_of_this_name"}))

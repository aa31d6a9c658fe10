-- What people decide for runs.

CREATE TABLE automate.approval (
    id            uuid PRIMARY KEY,
    run           uuid NOT NULL,
    step          text NOT NULL,
    attempt       integer NOT NULL,
    owner         regrole NOT NULL,
    workflow      text NOT NULL,
    role          regrole NOT NULL,
    subject       text NOT NULL,
    data          jsonb,
    quorum        integer NOT NULL DEFAULT 1,
    status        text NOT NULL DEFAULT 'pending',
    escalate_at   timestamptz,
    escalate_role regrole,
    escalated_at  timestamptz,
    created_at    timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    decided_at    timestamptz,
    result        jsonb,
    CONSTRAINT approval_quorum CHECK (quorum OPERATOR(pg_catalog.>) 0),
    CONSTRAINT approval_status CHECK (CASE
        WHEN status OPERATOR(pg_catalog.=) 'pending' THEN decided_at IS NULL AND result IS NULL
        WHEN status OPERATOR(pg_catalog.=) ANY (ARRAY['approved', 'rejected']) THEN decided_at IS NOT NULL AND result IS NOT NULL
        WHEN status OPERATOR(pg_catalog.=) 'withdrawn' THEN decided_at IS NOT NULL AND result IS NULL
        ELSE false END)
);
CREATE INDEX approval_run ON automate.approval (run, step);
CREATE INDEX approval_pending ON automate.approval (role) WHERE status OPERATOR(pg_catalog.=) 'pending';
COMMENT ON TABLE automate.approval IS
'Questions that steps of runs (call: approval) put to people. They are kept as long as the run.';
COMMENT ON COLUMN automate.approval.id IS 'uuid v7; for automate.decide_approval.';
COMMENT ON COLUMN automate.approval.run IS 'Id in automate.run.';
COMMENT ON COLUMN automate.approval.step IS 'The step that waits, as in automate.run_step.';
COMMENT ON COLUMN automate.approval.attempt IS 'Attempt of that step.';
COMMENT ON COLUMN automate.approval.owner IS 'The run''s owner.';
COMMENT ON COLUMN automate.approval.workflow IS 'Name of the workflow.';
COMMENT ON COLUMN automate.approval.role IS 'Its members decide.';
COMMENT ON COLUMN automate.approval.subject IS 'What is to be decided.';
COMMENT ON COLUMN automate.approval.data IS 'What those who decide should know.';
COMMENT ON COLUMN automate.approval.quorum IS 'How many of them must approve; one is enough to reject.';
COMMENT ON COLUMN automate.approval.status IS 'pending, approved, rejected, or withdrawn: the step waits no more, since its time is over or the run has ended.';
COMMENT ON COLUMN automate.approval.escalate_at IS 'When the members of escalate_role may decide, too; NULL: never.';
COMMENT ON COLUMN automate.approval.escalate_role IS 'Who may decide then.';
COMMENT ON COLUMN automate.approval.escalated_at IS 'When that happened.';
COMMENT ON COLUMN automate.approval.created_at IS 'When the step asked.';
COMMENT ON COLUMN automate.approval.decided_at IS 'When it was decided or withdrawn.';
COMMENT ON COLUMN automate.approval.result IS 'What the step got: decision, by, comment and at of the deciding vote, and all decisions.';

CREATE TABLE automate.approval_decision (
    approval uuid NOT NULL REFERENCES automate.approval (id) ON DELETE CASCADE,
    by       regrole NOT NULL,
    decision text NOT NULL,
    comment  text,
    at       timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    session  regrole NOT NULL,
    on_behalf_of regrole,
    PRIMARY KEY (approval, by),
    CONSTRAINT approval_decision_decision CHECK (decision OPERATOR(pg_catalog.=) ANY (ARRAY['approved', 'rejected']))
);
COMMENT ON TABLE automate.approval_decision IS 'What people have decided; each counts once for an approval.';
COMMENT ON COLUMN automate.approval_decision.approval IS 'Id in automate.approval.';
COMMENT ON COLUMN automate.approval_decision.by IS 'Who decided: the current role of the session.';
COMMENT ON COLUMN automate.approval_decision.decision IS 'approved or rejected.';
COMMENT ON COLUMN automate.approval_decision.comment IS 'What they said.';
COMMENT ON COLUMN automate.approval_decision.at IS 'When.';
COMMENT ON COLUMN automate.approval_decision.session IS 'Role that the session had logged in as.';
COMMENT ON COLUMN automate.approval_decision.on_behalf_of IS 'Who had handed the decision to them; NULL: nobody.';

CREATE TABLE automate.approval_delegation (
    approval uuid NOT NULL REFERENCES automate.approval (id) ON DELETE CASCADE,
    by       regrole NOT NULL,
    to_role  regrole NOT NULL,
    comment  text,
    at       timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    session  regrole NOT NULL,
    owner    regrole NOT NULL,
    PRIMARY KEY (approval, by)
);
COMMENT ON TABLE automate.approval_delegation IS 'Who decides in whose stead.';
COMMENT ON COLUMN automate.approval_delegation.approval IS 'Id in automate.approval.';
COMMENT ON COLUMN automate.approval_delegation.by IS 'Who handed the decision on; does not decide any more.';
COMMENT ON COLUMN automate.approval_delegation.to_role IS 'Who decides instead.';
COMMENT ON COLUMN automate.approval_delegation.comment IS 'Why.';
COMMENT ON COLUMN automate.approval_delegation.at IS 'When.';
COMMENT ON COLUMN automate.approval_delegation.session IS 'Role that the session had logged in as.';
COMMENT ON COLUMN automate.approval_delegation.owner IS 'The run''s owner.';

ALTER TABLE automate.approval ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.approval_decision ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.approval_delegation ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.approval_delegation FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR to_role::pg_catalog.oid OPERATOR(pg_catalog.=) (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) CURRENT_USER)
    OR by::pg_catalog.oid OPERATOR(pg_catalog.=) (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) CURRENT_USER)
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.approval_delegation IS 'The run''s owner sees it, and those between whom it is.';
CREATE POLICY own ON automate.approval FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR pg_catalog.pg_has_role(role, 'MEMBER')
    OR (escalated_at IS NOT NULL AND pg_catalog.pg_has_role(escalate_role, 'MEMBER'))
    OR EXISTS (SELECT FROM automate.approval_delegation AS d
               WHERE d.approval OPERATOR(pg_catalog.=) id AND d.to_role::pg_catalog.oid OPERATOR(pg_catalog.=) (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) CURRENT_USER))
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.approval IS
'A role sees what it owns, what roles own whose privileges it has, and what it may decide.';
CREATE POLICY own ON automate.approval_decision FOR SELECT USING (
    EXISTS (SELECT FROM automate.approval AS a WHERE a.id OPERATOR(pg_catalog.=) approval));
COMMENT ON POLICY own ON automate.approval_decision IS 'Whoever sees the approval sees what was decided.';

CREATE VIEW automate.my_approvals WITH (security_invoker = true) AS
SELECT a.id, a.workflow, a.subject, a.data, a.role, a.quorum,
       (SELECT pg_catalog.count(*) FROM automate.approval_decision AS d WHERE d.approval OPERATOR(pg_catalog.=) a.id) AS approved,
       a.created_at, pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) a.created_at AS age, a.escalate_at, a.escalated_at
FROM automate.approval AS a
WHERE a.status OPERATOR(pg_catalog.=) 'pending'
  AND (pg_catalog.pg_has_role(a.role, 'MEMBER')
       OR (a.escalated_at IS NOT NULL AND pg_catalog.pg_has_role(a.escalate_role, 'MEMBER'))
       OR EXISTS (SELECT FROM automate.approval_delegation AS d
                  WHERE d.approval OPERATOR(pg_catalog.=) a.id AND d.to_role::pg_catalog.oid OPERATOR(pg_catalog.=) (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) CURRENT_USER)))
  AND NOT EXISTS (SELECT FROM automate.approval_delegation AS d
                  WHERE d.approval OPERATOR(pg_catalog.=) a.id AND d.by::pg_catalog.oid OPERATOR(pg_catalog.=) (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) CURRENT_USER))
  AND NOT EXISTS (
      SELECT FROM automate.approval_decision AS d
      WHERE d.approval OPERATOR(pg_catalog.=) a.id
        AND d.by::pg_catalog.oid OPERATOR(pg_catalog.=) (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) CURRENT_USER));
COMMENT ON VIEW automate.my_approvals IS
'What the current role may decide, and has neither decided nor handed on yet; answer with automate.decide_approval.';
COMMENT ON COLUMN automate.my_approvals.id IS 'For automate.decide_approval.';
COMMENT ON COLUMN automate.my_approvals.workflow IS 'Name of the workflow that asks.';
COMMENT ON COLUMN automate.my_approvals.subject IS 'What is to be decided.';
COMMENT ON COLUMN automate.my_approvals.data IS 'What those who decide should know.';
COMMENT ON COLUMN automate.my_approvals.role IS 'Its members decide.';
COMMENT ON COLUMN automate.my_approvals.quorum IS 'How many must approve.';
COMMENT ON COLUMN automate.my_approvals.approved IS 'How many have.';
COMMENT ON COLUMN automate.my_approvals.created_at IS 'When the step asked.';
COMMENT ON COLUMN automate.my_approvals.age IS 'How long ago that is.';
COMMENT ON COLUMN automate.my_approvals.escalate_at IS 'When others may decide, too; NULL: never.';
COMMENT ON COLUMN automate.my_approvals.escalated_at IS 'When that happened.';

CREATE FUNCTION automate.decide_approval(approval uuid, decision text, comment text DEFAULT NULL) RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_decide_approval';
COMMENT ON FUNCTION automate.decide_approval(uuid, text, text) IS
'Decides as the current role, which must be a member of the approval''s role, or of the role it was escalated to, and able to log in: approved or rejected (approve and reject will do). Returns what the approval is then: pending as long as the quorum is not reached, approved or rejected; the run goes on when the caller''s transaction commits. Refused when it is not pending any more, or when the role has decided before.';

CREATE FUNCTION automate.delegate_approval(approval uuid, to_role regrole, comment text DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_delegate_approval';
COMMENT ON FUNCTION automate.delegate_approval(uuid, regrole, text) IS
'Hands the current role''s part in an approval on to another role that is permitted to log in, once; it decides instead, though it need not be a member of the approval''s role. Refused when the current role may not decide the approval, has decided it or handed it on before, or when it is not pending any more.';

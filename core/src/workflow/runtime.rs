//! What expressions can see of a run besides its data.

/// What `$workflow` and `$runtime` show; the same in every call for one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    pub run_id: String,
    pub workflow: String,
    pub namespace: String,
    pub version: i32,
    /// RFC 3339.
    pub started_at: String,
}

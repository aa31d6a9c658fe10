//! Definitions of this session, parsed once: versions never change.

use super::capability;
use crate::error::Result;
use crate::spi::Own;
use automate_core::workflow::{Definition, WorkflowError};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use uuid::Uuid;

/// Most definitions kept by a session.
const CACHE: usize = 256;

/// A definition as a run needs it.
pub struct Known {
    pub definition: Definition,
    pub namespace: String,
    /// Under which its statements were written.
    pub search_path: String,
}

thread_local! {
    static KNOWN: RefCell<HashMap<(Uuid, i32), Rc<Known>>> = RefCell::new(HashMap::new());
}

/// The definition of a version. The inner error is what a run of it faults with.
pub fn known(
    own: &Own,
    workflow: Uuid,
    version: i32,
) -> Result<std::result::Result<Rc<Known>, WorkflowError>> {
    let key = (workflow, version);
    if let Some(found) = KNOWN.with_borrow(|k| k.get(&key).cloned()) {
        return Ok(Ok(found));
    }
    let made = match read(own, workflow, version)? {
        Ok(made) => Rc::new(made),
        Err(error) => return Ok(Err(error)),
    };
    KNOWN.with_borrow_mut(|k| {
        if k.len() >= CACHE {
            k.clear();
        }
        k.insert(key, made.clone());
    });
    Ok(Ok(made))
}

/// The same read anew, for sessions that may have made it themselves and undo that.
pub fn read(
    own: &Own,
    workflow: Uuid,
    version: i32,
) -> Result<std::result::Result<Known, WorkflowError>> {
    let rows = own.run(
        "SELECT definition::text, search_path FROM automate.workflow_version
         WHERE workflow = $1 AND version = $2",
        &[pgrx::Uuid::from_bytes(*workflow.as_bytes()).into(), version.into()],
    )?;
    let Some(text) = rows.get::<String>(0, 1) else {
        return Ok(Err(unreadable("the workflow has been dropped")));
    };
    let document: Value = match serde_json::from_str(&text) {
        Ok(document) => document,
        Err(e) => return Ok(Err(unreadable(&e.to_string()))),
    };
    let definition = match Definition::parse(&document, &capability::limits()) {
        Ok(definition) => definition,
        Err(problems) => {
            let first = problems.first().map(ToString::to_string).unwrap_or_default();
            return Ok(Err(unreadable(&first)));
        }
    };
    let namespace = document["document"]["namespace"].as_str().unwrap_or_default().to_string();
    let search_path = rows.get(0, 2).unwrap_or_default();
    Ok(Ok(Known { definition, namespace, search_path }))
}

/// What a run faults with whose definition or state is no use.
pub fn unreadable(why: &str) -> WorkflowError {
    WorkflowError::standard("configuration", "The run cannot go on", why)
}

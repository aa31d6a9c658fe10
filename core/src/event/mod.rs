//! Events: what a payload must be like, and what comes in by a webhook.

pub mod schema;
pub mod webhook;

//! Entry of the schema generator (`cargo pgrx schema`).
::pgrx::pgrx_embed!();

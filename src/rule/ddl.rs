//! What a command is about to do to things that rules mention: give them another name or place,
//! change their type, or drop them.

use crate::pg;
use pgrx::prelude::*;
use std::ffi::{CStr, c_char};

/// What a command does.
pub enum Change {
    /// A column gets another name.
    Column { table: pg_sys::Oid, from: String, to: String },
    /// A schema gets another name.
    Schema { from: String, to: String },
    /// Something else gets another name, or moves to another schema.
    Name { from: String },
    /// Columns are dropped, or get another type.
    Columns { table: pg_sys::Oid, names: Vec<String> },
    /// Things are dropped: tables among them by their OIDs, and perhaps others that nobody named.
    Drop { names: Vec<String>, tables: Vec<pg_sys::Oid>, cascades: bool },
}

impl Change {
    /// The change that a utility statement makes; None if rules do not care.
    ///
    /// # Safety
    /// `node` is a utility statement from the parser, in a transaction.
    pub unsafe fn of(node: *mut pg_sys::Node) -> Option<Change> {
        use pg_sys::NodeTag::*;
        // SAFETY: the tag says which struct the node is.
        unsafe {
            match (*node).type_ {
                T_RenameStmt => renamed(&*node.cast::<pg_sys::RenameStmt>()),
                T_AlterObjectSchemaStmt => moved(&*node.cast::<pg_sys::AlterObjectSchemaStmt>()),
                T_AlterEnumStmt => {
                    let stmt = &*node.cast::<pg_sys::AlterEnumStmt>();
                    text(stmt.oldVal).map(|from| Change::Name { from })
                }
                T_AlterTableStmt => altered(&*node.cast::<pg_sys::AlterTableStmt>()),
                T_DropStmt => dropped(&*node.cast::<pg_sys::DropStmt>()),
                T_DropOwnedStmt => {
                    Some(Change::Drop { names: Vec::new(), tables: Vec::new(), cascades: true })
                }
                _ => None,
            }
        }
    }

    /// The words of which a rule mentions one, if the change concerns it.
    pub fn words(&self) -> Vec<String> {
        match self {
            Change::Column { from, .. } | Change::Schema { from, .. } | Change::Name { from } => {
                vec![from.clone()]
            }
            Change::Columns { names, .. } | Change::Drop { names, .. } => names.clone(),
        }
    }

    /// The table whose rules alone it concerns.
    pub fn table(&self) -> Option<pg_sys::Oid> {
        match self {
            Change::Column { table, .. } | Change::Columns { table, .. } => Some(*table),
            _ => None,
        }
    }

    /// True when the things are still there afterwards, under another name.
    pub fn renames(&self) -> bool {
        !matches!(self, Change::Columns { .. } | Change::Drop { .. })
    }
}

unsafe fn renamed(stmt: &pg_sys::RenameStmt) -> Option<Change> {
    use pg_sys::ObjectType::*;
    // SAFETY: the fields that the kind of object has.
    unsafe {
        let name = |from| Change::Name { from };
        match stmt.renameType {
            OBJECT_COLUMN => Some(Change::Column {
                table: relation(stmt.relation)?,
                from: text(stmt.subname)?,
                to: text(stmt.newname)?,
            }),
            OBJECT_SCHEMA => {
                Some(Change::Schema { from: text(stmt.subname)?, to: text(stmt.newname)? })
            }
            OBJECT_ATTRIBUTE => text(stmt.subname).map(name),
            OBJECT_TABLE | OBJECT_FOREIGN_TABLE | OBJECT_VIEW | OBJECT_MATVIEW => {
                text((*stmt.relation).relname).map(name)
            }
            OBJECT_FUNCTION | OBJECT_PROCEDURE | OBJECT_ROUTINE | OBJECT_TYPE | OBJECT_DOMAIN
            | OBJECT_COLLATION => last_name(stmt.object).map(name),
            _ => None,
        }
    }
}

unsafe fn moved(stmt: &pg_sys::AlterObjectSchemaStmt) -> Option<Change> {
    use pg_sys::ObjectType::*;
    // SAFETY: a statement about a relation has that, the others have the object.
    let from = unsafe {
        match stmt.objectType {
            OBJECT_FUNCTION | OBJECT_PROCEDURE | OBJECT_ROUTINE | OBJECT_TYPE | OBJECT_DOMAIN
            | OBJECT_COLLATION | OBJECT_OPERATOR => last_name(stmt.object)?,
            _ if stmt.relation.is_null() => return None,
            _ => text((*stmt.relation).relname)?,
        }
    };
    Some(Change::Name { from })
}

unsafe fn altered(stmt: &pg_sys::AlterTableStmt) -> Option<Change> {
    use pg_sys::AlterTableType::{AT_AlterColumnType, AT_DropColumn};
    // SAFETY: a list of commands, each with the name of its column.
    unsafe {
        let names: Vec<String> = pg::items::<pg_sys::AlterTableCmd>(stmt.cmds)
            .filter(|cmd| [AT_AlterColumnType, AT_DropColumn].contains(&(**cmd).subtype))
            .filter_map(|cmd| text((*cmd).name))
            .collect();
        if names.is_empty() {
            return None;
        }
        Some(Change::Columns { table: relation(stmt.relation)?, names })
    }
}

unsafe fn dropped(stmt: &pg_sys::DropStmt) -> Option<Change> {
    use pg_sys::ObjectType::*;
    let (mut names, mut tables) = (Vec::new(), Vec::new());
    // SAFETY: a list of names in the form that the kind of object has.
    unsafe {
        for object in pg::items::<pg_sys::Node>(stmt.objects) {
            match stmt.removeType {
                // Rules mention their row types hardly ever, and tables come and go often.
                OBJECT_TABLE | OBJECT_FOREIGN_TABLE | OBJECT_VIEW => {
                    tables.extend(relation(pg_sys::makeRangeVarFromNameList(object.cast())));
                }
                OBJECT_FUNCTION | OBJECT_PROCEDURE | OBJECT_ROUTINE | OBJECT_TYPE
                | OBJECT_DOMAIN | OBJECT_COLLATION | OBJECT_OPERATOR | OBJECT_SCHEMA => {
                    names.extend(last_name(object));
                }
                OBJECT_EXTENSION => {}
                _ => return None,
            }
        }
    }
    let cascades = matches!(stmt.removeType, OBJECT_SCHEMA | OBJECT_EXTENSION);
    Some(Change::Drop { names, tables, cascades })
}

unsafe fn relation(range: *mut pg_sys::RangeVar) -> Option<pg_sys::Oid> {
    if range.is_null() {
        return None;
    }
    // SAFETY: a look-up without a lock, which answers 0 for what is not there.
    let found = unsafe {
        pg_sys::RangeVarGetRelidExtended(
            range,
            pg_sys::NoLock as i32,
            pg_sys::RVROption::RVR_MISSING_OK,
            None,
            std::ptr::null_mut(),
        )
    };
    (found != pg_sys::InvalidOid).then_some(found)
}

/// The last part of a name, without its schema.
unsafe fn last_name(node: *mut pg_sys::Node) -> Option<String> {
    use pg_sys::NodeTag::*;
    if node.is_null() {
        return None;
    }
    // SAFETY: the tag says which struct the node is.
    unsafe {
        let list = match (*node).type_ {
            T_String => return text((*node.cast::<pg_sys::String>()).sval),
            T_List => node.cast::<pg_sys::List>(),
            T_ObjectWithArgs => (*node.cast::<pg_sys::ObjectWithArgs>()).objname,
            T_TypeName => (*node.cast::<pg_sys::TypeName>()).names,
            _ => return None,
        };
        let last = pg::items::<pg_sys::Node>(list).last()?;
        // A list in a list is of triggers, casts and the like, which no rule mentions.
        if (*last).type_ != T_String {
            return None;
        }
        text((*last.cast::<pg_sys::String>()).sval)
    }
}

unsafe fn text(text: *const c_char) -> Option<String> {
    // SAFETY: the parser's texts are NUL-terminated.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text).to_string_lossy().into_owned() })
}

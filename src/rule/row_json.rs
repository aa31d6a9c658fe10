//! Rows as JSON, letter for letter as row_to_json writes them, without forming the row and looking
//! up each column's type anew: that took a third of what a match cost.

use pgrx::prelude::*;
use std::ffi::{CStr, c_char};
use std::fmt::Write;

/// How the rows of a table are written.
pub struct RowWriter(Vec<Field>);

struct Field {
    /// From 1.
    number: i16,
    /// The name as a key, with what stands around it.
    key: String,
    form: Form,
}

/// How the values of a type are written.
enum Form {
    Bool,
    Int2,
    Int4,
    Int8,
    Text,
    /// A type with a JSON form of its own, and its OID.
    Time(pg_sys::Oid),
    /// What the type's output function says, in quotes unless it is a number.
    Number(Box<pg_sys::FmgrInfo>),
    Other(Box<pg_sys::FmgrInfo>),
}

impl RowWriter {
    /// A writer for rows of this form, or None if it has columns that are left to row_to_json.
    ///
    /// # Safety
    /// The descriptor is that of an open relation; the context lives as long as the writer.
    pub unsafe fn of(
        descriptor: pg_sys::TupleDesc,
        context: pg_sys::MemoryContext,
    ) -> Option<RowWriter> {
        // SAFETY: the descriptor has so many attributes, whose names are C strings.
        let attributes = unsafe { (*descriptor).attrs.as_slice((*descriptor).natts as usize) };
        let mut fields = Vec::with_capacity(attributes.len());
        for (attribute, number) in attributes.iter().zip(1..) {
            if attribute.attisdropped {
                continue;
            }
            // SAFETY: as above.
            let (name, form) = unsafe {
                let name = CStr::from_ptr(attribute.attname.data.as_ptr()).to_string_lossy();
                (name, form_of(attribute.atttypid, context)?)
            };
            let lead = if fields.is_empty() { '{' } else { ',' };
            let key = format!("{lead}{}:", serde_json::Value::from(&*name));
            fields.push(Field { number, key, form });
        }
        (!fields.is_empty()).then_some(RowWriter(fields))
    }

    /// The row of a slot.
    ///
    /// # Safety
    /// The slot holds a row of the form that the writer was made for.
    pub unsafe fn write(&self, slot: *mut pg_sys::TupleTableSlot) -> String {
        // SAFETY: after deforming, the arrays have an entry for each column.
        unsafe {
            let last = self.0.last().map_or(0, |field| field.number);
            if (*slot).tts_nvalid < last {
                pg_sys::slot_getsomeattrs_int(slot, i32::from(last));
            }
            let mut text = String::with_capacity(self.0.len() * 32);
            for field in &self.0 {
                text.push_str(&field.key);
                let at = field.number as usize - 1;
                if *(*slot).tts_isnull.add(at) {
                    text.push_str("null");
                } else {
                    field.form.write(*(*slot).tts_values.add(at), &mut text);
                }
            }
            text.push('}');
            text
        }
    }
}

/// How a type's values are written; None for those whose JSON is made of parts, or may be somebody's
/// function.
unsafe fn form_of(oid: pg_sys::Oid, context: pg_sys::MemoryContext) -> Option<Form> {
    const FIRST_NORMAL_OID: u32 = 16_384;
    let output = || {
        let (mut function, mut is_varlena) = (pg_sys::InvalidOid, false);
        let mut ready = Box::new(pg_sys::FmgrInfo::default());
        // SAFETY: a type that exists has an output function.
        unsafe {
            pg_sys::getTypeOutputInfo(oid, &mut function, &mut is_varlena);
            pg_sys::fmgr_info_cxt(function, &mut *ready, context);
        }
        ready
    };
    match oid {
        pg_sys::BOOLOID => Some(Form::Bool),
        pg_sys::INT2OID => Some(Form::Int2),
        pg_sys::INT4OID => Some(Form::Int4),
        pg_sys::INT8OID => Some(Form::Int8),
        pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BPCHAROID => Some(Form::Text),
        pg_sys::DATEOID | pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID => Some(Form::Time(oid)),
        pg_sys::FLOAT4OID | pg_sys::FLOAT8OID | pg_sys::NUMERICOID => Some(Form::Number(output())),
        pg_sys::JSONOID | pg_sys::JSONBOID => None,
        _ => {
            // SAFETY: look-ups in the catalog.
            let is_made_of_parts = unsafe {
                oid.to_u32() >= FIRST_NORMAL_OID
                    || pg_sys::type_is_rowtype(oid)
                    || pg_sys::get_element_type(oid) != pg_sys::InvalidOid
            };
            (!is_made_of_parts).then(|| Form::Other(output()))
        }
    }
}

impl Form {
    unsafe fn write(&self, datum: pg_sys::Datum, text: &mut String) {
        // Writing to a String cannot fail.
        let mut number = |value: i64| {
            let _ = write!(text, "{value}");
        };
        // SAFETY: the datum is not NULL and of a type of this form.
        unsafe {
            match self {
                Form::Bool => {
                    text.push_str(if datum.value() & 0xFF != 0 { "true" } else { "false" })
                }
                Form::Int2 => number(i64::from(datum.value() as i16)),
                Form::Int4 => number(i64::from(datum.value() as i32)),
                Form::Int8 => number(datum.value() as i64),
                Form::Text => {
                    let value = pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr());
                    let length = pgrx::varlena::varsize_any_exhdr(value);
                    let bytes = pgrx::varlena::vardata_any(value).cast();
                    escape(std::slice::from_raw_parts(bytes, length), text);
                }
                Form::Time(oid) => {
                    /// PostgreSQL's MAXDATELEN and the end.
                    const LONGEST: usize = 129;
                    let mut buffer = [0 as c_char; LONGEST];
                    let no_zone = std::ptr::null();
                    let written =
                        pg_sys::JsonEncodeDateTime(buffer.as_mut_ptr(), datum, *oid, no_zone);
                    escape(CStr::from_ptr(written).to_bytes(), text);
                }
                Form::Number(output) => {
                    let said = said(output, datum);
                    let digits = said.strip_prefix(b"-").unwrap_or(said);
                    match digits.first() {
                        Some(first) if first.is_ascii_digit() => {
                            text.push_str(&String::from_utf8_lossy(said));
                        }
                        _ => escape(said, text),
                    }
                }
                Form::Other(output) => escape(said(output, datum), text),
            }
        }
    }
}

/// What an output function says, in the current memory context.
unsafe fn said<'a>(output: &pg_sys::FmgrInfo, datum: pg_sys::Datum) -> &'a [u8] {
    // SAFETY: the function is of the value's type; the function's frame is not kept.
    unsafe {
        let function = std::ptr::from_ref(output).cast_mut();
        CStr::from_ptr(pg_sys::OutputFunctionCall(function, datum)).to_bytes()
    }
}

/// Writes a JSON string as PostgreSQL escapes it.
fn escape(bytes: &[u8], text: &mut String) {
    text.push('"');
    let mut rest = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escaped = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            0x08 => "\\b",
            0x0C => "\\f",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        text.push_str(&String::from_utf8_lossy(&bytes[rest..at]));
        match escaped {
            "" => {
                let _ = write!(text, "\\u{byte:04x}");
            }
            escaped => text.push_str(escaped),
        }
        rest = at + 1;
    }
    text.push_str(&String::from_utf8_lossy(&bytes[rest..]));
    text.push('"');
}
